"""What comes from outside as JSON: within bounds before it is parsed, and in its schema afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from orchestrator.errors import InvalidRequest

T = TypeVar("T", bound=BaseModel)

MOST_NESTED: Final = 1_000_000
"""Arrays and objects in one request."""
# A string that is not closed counts to the end, so that no text makes this search twice.
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z|\\\Z)', re.DOTALL)
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def json_object(raw: bytes, most_depth: int) -> dict[str, Any]:
    """The JSON object in a body; raises InvalidRequest for anything else, for NUL, and for nesting beyond the bound."""
    value = json_value(raw, most_depth)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def json_value(raw: bytes, most_depth: int) -> Any:
    """The JSON value in a body; raises InvalidRequest for what is none, for NUL, and for nesting beyond the bound."""
    _check_depth(raw, most_depth)
    try:
        value = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {str(error)[:200]}.") from None
    if b"\\u0000" in raw and _NUL.search(raw):
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


def _check_depth(raw: bytes, most: int) -> None:
    """Refuse deep nesting before anything is parsed. Runs in C throughout: a body may have 32 MiB."""
    if raw.count(b"[") + raw.count(b"{") <= most:
        return
    left = _STRINGS.sub(b"", raw).translate(None, _NOT_BRACKETS).translate(_ALIKE)
    if len(left) > 2 * MOST_NESTED:
        raise InvalidRequest(f"The body holds more than {MOST_NESTED} arrays and objects. Send less at once.")
    for _ in range(most):
        if not left:
            return
        shorter = left.replace(b"[]", b"")
        if len(shorter) == len(left):
            break
        left = shorter
    if left:
        raise InvalidRequest(f"The body nests arrays and objects more than {most} deep, or does not close them.")
