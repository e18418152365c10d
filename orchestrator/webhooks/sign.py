"""Signatures after Standard Webhooks, as the official `openai` client and every library of that standard verify them."""

from __future__ import annotations

import base64
import secrets as randomness
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

from orchestrator.errors import Broken

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 24
"""The least that the standard asks for, and a multiple of three: verifiers differ in how they read base64 with padding."""
SHOWN: Final = 4


def new_secret() -> str:
    """A fresh secret, as its receiver is given it."""
    return PREFIX + base64.b64encode(randomness.token_bytes(SECRET_BYTES)).decode("ascii")


def masked(secret: str) -> str:
    """A hint by which people tell secrets apart, and that is of no use to anybody else."""
    return f"{PREFIX}...{secret[-SHOWN:]}"


def signed_headers(secrets: Sequence[str], message_id: str, payload: bytes, at: datetime) -> dict[str, str]:
    """The three headers of one attempt, sent at `at`, with a signature by each secret: two while one replaces the other.

    `message_id` stays the same for all attempts of a message, so that its receiver can drop a second copy; `at` is new each
    time, since receivers refuse what is older than five minutes (which is what makes a replay useless).
    """
    if not secrets:
        raise Broken("A webhook has no secret to sign with. This is a bug: report it.")
    moment, body = at.astimezone(UTC), payload.decode("utf-8")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(_signer(secret).sign(message_id, moment, body) for secret in secrets),
    }


def _signer(secret: str) -> Webhook:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or len(key) < SECRET_BYTES:
        raise Broken(
            f"A webhook's secret is not {PREFIX} and {SECRET_BYTES} bytes of base64. Rotate it to get a new one."
        )
    return Webhook(key)
