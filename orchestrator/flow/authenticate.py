"""Authenticate: whose an API key is, and what it may do. Only its hash is ever looked up, stored or kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, Literal, get_args

from orchestrator.errors import Forbidden, Unauthorized
from orchestrator.flow.context import Context
from orchestrator.store import keys
from orchestrator.store.keys import Identity

Scope = Literal["submit", "read", "admin"]
"""What a key may do: hand work in and call it off, read, administer."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
KEY_BYTES: Final = 32
PREFIX_CHARS: Final = 10
"""Of a key, `rs_` included, that are stored and shown: enough to tell keys apart, far too few to guess one."""
_KEY: Final = re.compile(r"rs_[A-Za-z0-9_-]{43}")


def new_key() -> str:
    """A new API key: 256 random bits."""
    return f"rs_{secrets.token_urlsafe(KEY_BYTES)}"


def hash_of(key: str) -> bytes:
    """What is stored of a key. It holds 256 random bits, so that no slow hash is needed to keep it from being guessed."""
    return hashlib.sha256(key.encode()).digest()


def checked_form(key: str) -> str:
    """A key that could be one; raises Unauthorized."""
    if not _KEY.fullmatch(key):
        raise Unauthorized(
            "That is no API key of Rightsize: one has rs_ and 43 characters. `rightsize keys create --name NAME` makes a key."
        )
    return key


def find(context: Context, key_hash: bytes) -> Identity | None:
    """Whose the key of a hash is; None for one that is unknown, revoked or expired."""
    with context.house.unit_of_work() as session:
        return keys.find(session, key_hash)


def authenticate(context: Context, key: str, scope: Scope) -> Identity:
    """Whose a key is; raises Unauthorized for one that is none, and Forbidden for one without the scope."""
    return allowed(find(context, hash_of(checked_form(key))), scope)


def allowed(identity: Identity | None, scope: Scope) -> Identity:
    """An identity that may do what it wants; raises Unauthorized or Forbidden."""
    if identity is None:
        raise Unauthorized(
            "This API key is not known, or it was revoked or has expired. `rightsize keys create --name NAME` makes another."
        )
    if scope not in identity.scopes:
        raise Forbidden(
            f"This key has the scopes {', '.join(sorted(identity.scopes)) or 'none'}, and this needs {scope}. "
            f"Use a key with it: `rightsize keys create --name NAME --scope {scope}`."
        )
    return identity
