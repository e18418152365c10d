"""Rows of a JSONL file or of standard input: OpenAI batch rows pass as they are, plain ones become requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import orjson

from orchestrator.documents.lines import (
    Draft,
    RowOptions,
    Unfit,
    body_for,
    checked_text,
    clean_id,
    system_message,
)
from orchestrator.documents.newlines import Line, lines_of
from orchestrator.errors import InvalidRequest
from orchestrator.fields import ALLOWED
from orchestrator.hints import NO_HINTS
from orchestrator.incoming import holds_nul
from orchestrator.requests import SCORE, features_of

MAX_DEPTH: Final = 64
TEXT_KEYS: Final = ("text", "prompt", "question", "message")
CONTENT_KEYS: Final = frozenset({"messages", "prompt", "input"})

_FORMS: Final = 'an OpenAI batch row, {"text": ...}, {"messages": [...]} or a JSON string'


def read_rows(stream: BinaryIO, source: str, options: RowOptions, *, direct: bool) -> Iterator[Draft]:
    """A draft for every line that is not blank, in their order.

    `direct` says that the file itself was submitted: plain rows then take their `id` or `custom_id` as it is.
    """
    empty = True
    for line in lines_of(stream, options.max_row_bytes):
        if line.too_long or line.data.strip():
            empty = False
            yield _draft(line, source, options, direct=direct)
    if empty:
        yield Draft(source, Unfit("empty_file", "There are no rows. Give one JSON value on each line."))


def _draft(line: Line, source: str, options: RowOptions, *, direct: bool) -> Draft:
    wanted = f"{source}#{line.number}"
    try:
        row = _parsed(line, options)
        if isinstance(row, Mapping) and ("body" in row or "url" in row or "method" in row):
            if isinstance(row.get("custom_id"), str) and row["custom_id"]:
                wanted = row["custom_id"]
            _check_storable(line)
            _check_batch_row(row, line)
            return Draft(wanted, line.data, number=line.number, source=source)
        named = row.get("custom_id", row.get("id")) if isinstance(row, Mapping) else None
        if direct and isinstance(named, (str, int)) and str(named).strip():
            wanted = str(named)
        _check_storable(line)
        return Draft(wanted, _body(row, line, options), number=line.number, source=source)
    except Unfit as unfit:
        return Draft(wanted, unfit, number=line.number, source=source)


def _parsed(line: Line, options: RowOptions) -> Any:
    if line.too_long:
        raise Unfit(
            "row_too_large",
            f"Line {line.number} has {line.too_long:,} bytes, at most {options.max_row_bytes:,} are read. Split it.",
        )
    try:
        row = orjson.loads(line.data)  # the server's parser: what passes here passes there
    except orjson.JSONDecodeError as error:
        raise _malformed(
            line, f"is no JSON: {error.msg} at byte {error.pos + 1}", f"Each line must be {_FORMS}"
        ) from None
    if line.data.count(b"[") + line.data.count(b"{") > MAX_DEPTH and _depth(row) > MAX_DEPTH:
        raise _malformed(line, "is nested too deeply", f"Nest at most {MAX_DEPTH} levels")
    return row


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inner = (part for part in level if isinstance(part, (dict, list)))
        level = [item for part in inner for item in (part.values() if isinstance(part, dict) else part)]
        level = [item for item in level if isinstance(item, (dict, list))]
    return deepest


def _malformed(line: Line, what: str, remedy: str) -> Unfit:
    return Unfit("malformed_row", f"Line {line.number} {what}. {remedy}.")


def _check_storable(line: Line) -> None:
    if holds_nul(line.data):
        raise _malformed(line, "holds a NUL character, which cannot be stored", "Remove it")


def _check_batch_row(row: Mapping[str, Any], line: Line) -> None:
    """Raise Unfit where a row means to be an OpenAI batch row and is none."""
    custom_id, url = row.get("custom_id"), row.get("url")
    if not isinstance(custom_id, str) or not custom_id:
        raise _malformed(line, "has no `custom_id`", "Give each batch row a string of its own")
    if clean_id(custom_id) != custom_id:
        raise _malformed(
            line, "has a `custom_id` that cannot be kept", "Use 1 to 512 characters, and no control characters"
        )
    if "rightsize" in row:
        raise _malformed(line, "has `rightsize` beside `body`, where nothing reads it", "Put it into the body")
    if row.get("method") != "POST":
        raise _malformed(line, "has another `method` than POST", 'Write "method": "POST"')
    if not isinstance(url, str):
        raise _malformed(line, "has no endpoint in `url`", 'Write "url": "/v1/chat/completions"')
    _check_body(url, row.get("body"), line)


def _check_body(url: str, body: object, line: Line) -> None:
    """Raise Unfit where the server would refuse a body, so that only its row is lost and not the batch."""
    try:
        features_of(url, body, NO_HINTS)
    except InvalidRequest as error:
        raise Unfit("malformed_row", f"Line {line.number}: {error.message}") from None


def _body(row: object, line: Line, options: RowOptions) -> dict[str, Any]:
    if isinstance(row, str):
        return body_for(checked_text(row, options, f"Line {line.number}"), options)
    if not isinstance(row, Mapping):
        raise _malformed(line, f"is {_json_name(row)}", f"Each line must be {_FORMS}")
    body = _asked(row, line, options)
    # Other keys are columns of the caller's data and stay out of the request.
    settable = ALLOWED[options.endpoint] - CONTENT_KEYS
    body.update({key: value for key, value in row.items() if key in settable})
    own = row.get("rightsize", {})
    if not isinstance(own, Mapping):
        raise _malformed(line, "has a `rightsize` that is no object", 'Write "rightsize": {"task": ...}')
    if hints := {**options.hints, **own}:
        body["rightsize"] = hints
    if known := metadata_of(row):
        given = row.get("metadata", {})
        body["metadata"] = {**(given if isinstance(given, Mapping) else {}), **known}
    _check_body(options.endpoint, body, line)
    return body


def _asked(row: Mapping[str, Any], line: Line, options: RowOptions) -> dict[str, Any]:
    if options.endpoint == SCORE:  # its two sides are settable fields like others
        return {"model": options.model}
    if "messages" in row:
        messages = row["messages"]
        if not isinstance(messages, list) or not messages or not all(isinstance(one, Mapping) for one in messages):
            raise _malformed(
                line, "has `messages` that are no list of objects", 'Write [{"role": "user", "content": ...}]'
            )
        if options.endpoint != "/v1/chat/completions":
            raise _malformed(line, f"has `messages`, which {options.endpoint} does not take", 'Write {"text": ...}')
        has_system = messages[0].get("role") in ("system", "developer")
        return {"model": options.model, "messages": [*([] if has_system else system_message(options)), *messages]}
    for key in TEXT_KEYS:
        if key in row:
            if not isinstance(row[key], str):
                raise _malformed(line, f"has a `{key}` that is no string", "Put the text there")
            return body_for(checked_text(row[key], options, f"The `{key}` of line {line.number}"), options)
    raise _malformed(line, "has no text", f"Each line must be {_FORMS}")


def metadata_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The right answer and the possible labels (joined by commas) of a row: strings, as OpenAI wants metadata."""
    known = {}
    if isinstance(row.get("expected"), str) and row["expected"]:
        known["expected"] = row["expected"]
    labels = row.get("labels")
    if isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels):
        labels = ",".join(labels)
    if isinstance(labels, str) and labels:
        known["labels"] = labels
    return known


def _json_name(value: object) -> str:
    names = {list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names[type(value)]
