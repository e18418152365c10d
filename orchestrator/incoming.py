"""What comes from outside as JSON: within bounds before it is parsed, and in its schema afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from orchestrator.errors import InvalidRequest

T = TypeVar("T", bound=BaseModel)

MOST_NESTED: Final = 250_000
"""Arrays and objects in one request."""
MOST_VALUES: Final = 500_000
"""Values in one request: once they are read they take some thirty times their bytes."""
PIECE_BYTES: Final = 64 * 1024
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_SIGNS: Final = bytes(byte for byte in range(256) if byte not in b"[]{},")
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def json_object(raw: bytes, most_depth: int) -> dict[str, Any]:
    """The JSON object in a body; raises InvalidRequest for anything else, for NUL, and for nesting beyond the bound."""
    value = json_value(raw, most_depth)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def json_value(raw: bytes, most_depth: int) -> Any:
    """The JSON value in a body; raises InvalidRequest for what is none, for NUL, and for nesting beyond the bound."""
    check_shape(raw, most_depth)
    try:
        value = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {str(error)[:200]}.") from None
    if holds_nul(raw):
        raise InvalidRequest("The body holds a NUL character, which cannot be stored. Remove it.")
    return value


def checked(kind: type[T], data: Mapping[str, Any]) -> T:
    """A body in its schema; raises InvalidRequest that names the field, and never tells its value."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        hint = f" Known fields: {', '.join(kind.model_fields)}." if first["type"] == "extra_forbidden" else ""
        raise InvalidRequest(
            f"`{name[:80]}`: {first['msg'].removeprefix('Value error, ')}.{hint}", param=name[:80]
        ) from None


def holds_nul(raw: bytes) -> bool:
    """Whether JSON holds an escaped NUL, which PostgreSQL cannot store; a backslash before `u0000` is text."""
    return b"\\u0000" in raw and _NUL.search(raw) is not None


def check_shape(raw: bytes, most_depth: int, what: str = "body") -> None:
    """Refuse deep nesting and floods of values before anything is parsed; raises InvalidRequest.

    Runs in C throughout, and in little memory: a body may have 32 MiB.
    """
    if raw.count(b"[") + raw.count(b"{") <= most_depth and raw.count(b",") <= MOST_VALUES:
        return
    signs = _signs(raw, what)
    for _ in range(most_depth):
        if not signs:
            return
        shorter = signs.replace(b"[]", b"")
        if len(shorter) == len(signs):
            break
        signs = shorter
    if signs:
        raise InvalidRequest(
            f"The {what} nests arrays and objects more than {most_depth} deep, or does not close them."
        )


def _signs(raw: bytes, what: str) -> bytes:
    """The brackets outside of strings, all of them square; raises InvalidRequest for too many, or too many values."""
    signs, values = bytearray(), 0
    for piece in _outside_strings(raw):
        found = piece.translate(_ALIKE, _NOT_SIGNS)
        values += found.count(b",")
        signs += found.replace(b",", b"")
        if values > MOST_VALUES:
            raise InvalidRequest(f"The {what} holds more than {MOST_VALUES:,} values. Send less at once.")
        if len(signs) > 2 * MOST_NESTED:
            raise InvalidRequest(f"The {what} holds more than {MOST_NESTED:,} arrays and objects. Send less at once.")
    return bytes(signs)


def _outside_strings(raw: bytes) -> Iterator[bytes]:
    """JSON without what its strings hold, piece by piece; a string that is not closed goes on to the end."""
    inside, held = False, b""
    for start in range(0, len(raw), PIECE_BYTES):
        piece = held + raw[start : start + PIECE_BYTES]
        held = b""
        if b"\\" in piece:
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # what it escapes is in the next piece
                piece, held = piece[:-1], b"\\"
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        yield b"".join(parts[1 if inside else 0 :: 2])
        inside ^= len(parts) % 2 == 0
