"""Celery's messages as they lie in Redis, read as data: nothing in them is ever unpickled, imported or called.

kombu's envelope is JSON: `body` (base64), `content-type`, `headers`, `properties`. The body of Celery's message protocol 2 is
`[args, kwargs, embed]` in the content type that the envelope names; only JSON is read.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from orchestrator.errors import InvalidRequest, TooLarge
from orchestrator.incoming import json_value
from orchestrator.settings import MIB

MOST_ID_CHARS: Final = 200
LATEST: Final = timedelta(days=30)
"""How far ahead an ETA may lie."""
DEPTH_AROUND: Final = 2
"""What Celery nests around the keyword arguments."""
HELD: Final = "rightsize"
"""The header in which we note since when a message waits for room."""
CANVAS: Final = ("callbacks", "errbacks", "chain", "chord")
_ID: Final = re.compile(rf"[\x21-\x7e]{{1,{MOST_ID_CHARS}}}")
_ZLIB: Final = frozenset({"application/x-gzip", "gzip", "zlib"})
"""kombu's names for zlib."""
_TOO_LARGE: Final = re.compile(rb"!(\d+)")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message without its arguments: what it asks for, when, and whether anybody waits for the answer."""

    task_id: str
    task: str
    wants_result: bool
    eta: datetime | None
    expires: datetime | None
    since: float | None
    """When it was first put off for lack of room, in Unix seconds; None if it never was."""
    tries: int
    """How often it was put off."""
    _outer: Mapping[str, Any]

    def arguments(self, most_bytes: int, most_depth: int) -> dict[str, Any]:
        """The keyword arguments; raises InvalidRequest or TooLarge for what is not read, and says what to send instead."""
        raw = _plain(self._outer, most_bytes)
        kind = self._outer.get("content-type")
        if kind != "application/json":
            raise InvalidRequest(
                f"The message is {str(kind)[:80]!r}. Send it with serializer='json' (Celery's default); nothing else is read."
            )
        body = json_value(raw, most_depth + DEPTH_AROUND)
        if not isinstance(body, list) or len(body) != 3 or not isinstance(body[1], dict):
            raise InvalidRequest("The message's body is not that of a Celery task: [args, kwargs, embed].")
        args, embed = body[0], body[2]
        kwargs: dict[str, Any] = body[1]
        if args:
            raise InvalidRequest("The arguments must be given by name (kwargs), not by place (args).")
        if isinstance(embed, dict) and any(embed.get(name) for name in CANVAS):
            raise InvalidRequest(
                "Links, chains and chords are not followed here. Send the task alone, and have your own task ask for the result."
            )
        return kwargs

    def held(self, since: float) -> bytes:
        """The message with a note of since when it waits, and one try more."""
        headers = {**self._outer["headers"], HELD: {"since": since, "tries": self.tries + 1}}
        return orjson.dumps({**self._outer, "headers": headers})


def envelope(raw: bytes) -> Envelope:
    """Read a message's envelope; raises InvalidRequest or TooLarge for what is no Celery message."""
    if found := _TOO_LARGE.fullmatch(raw):
        raise TooLarge(f"The message has {found[1].decode()} bytes, which is too large. Hand such work in as a batch.")
    try:
        outer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The message is not JSON. Send it with Celery, or with kombu's envelope.") from None
    headers = outer.get("headers") if isinstance(outer, dict) else None
    if not isinstance(headers, dict):
        raise InvalidRequest("The message has no headers. Send it with Celery, or with kombu's envelope.")
    task, task_id = headers.get("task"), headers.get("id")
    if task is None:
        raise InvalidRequest(
            "The message names no task in its headers. Leave task_protocol at 2, Celery's default: 1 is not read."
        )
    if not isinstance(task, str) or not isinstance(task_id, str) or not _ID.fullmatch(task_id):
        raise InvalidRequest(
            f"The message's task and id must be text, the id of 1 to {MOST_ID_CHARS} printable ASCII characters."
        )
    since, tries = _held(headers.get(HELD))
    return Envelope(
        task_id, task[:200], not headers.get("ignore_result"), _time(headers.get("eta"), "eta"),
        _time(headers.get("expires"), "expires"), since, tries, outer,
    )  # fmt: skip


def task_id_of(raw: bytes) -> str:
    """The task id of a message that could not be read, as far as it can be told; empty where it cannot."""
    try:
        found = orjson.loads(raw)["headers"]["id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) and _ID.fullmatch(found) else ""


def _plain(outer: Mapping[str, Any], most_bytes: int) -> bytes:
    """The body's bytes, unpacked within the bound."""
    body, headers, properties = outer.get("body"), outer["headers"], outer.get("properties")
    if not isinstance(body, str):
        raise InvalidRequest("The message's body is not text.")
    encoding = properties.get("body_encoding") if isinstance(properties, dict) else None
    try:
        raw = base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("The message's body is not the base64 that it claims to be.") from None
    packed = headers.get("compression")
    if isinstance(packed, str) and packed in _ZLIB:
        raw = _unpacked(raw, most_bytes)
    elif packed:
        raise InvalidRequest(
            f"The message is packed as {str(packed)[:80]!r}. Send it with compression='gzip' or without."
        )
    if len(raw) > most_bytes:
        raise TooLarge(_over(most_bytes))
    return raw


def _unpacked(raw: bytes, most_bytes: int) -> bytes:
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(raw, most_bytes + 1)
    except zlib.error:
        raise InvalidRequest("The message's body is not the gzip that it claims to be.") from None
    if not reader.eof and len(found) <= most_bytes:
        raise InvalidRequest("The message's body breaks off.")
    return found


def _over(most_bytes: int) -> str:
    told = f"{most_bytes // MIB} MiB" if most_bytes >= MIB else f"{most_bytes} bytes"
    return f"The message is larger than {told}. Hand such work in as a batch, or raise RIGHTSIZE_MAX_REQUEST_BYTES."


def _held(note: Any) -> tuple[float | None, int]:
    """Since when a message waits and how often it was put off; a note that is not ours counts for nothing."""
    match note:
        case {"since": int() | float() as since, "tries": int() as tries}:
            return float(since), max(0, tries)
        case _:
            return None, 0


def _time(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidRequest(f"The message's `{name}` is no time. Let Celery write it, or use ISO 8601.") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if name == "eta" and found > datetime.now(UTC) + LATEST:
        raise InvalidRequest(f"The message's `eta` lies more than {LATEST.days} days ahead. Send it later.")
    return found
