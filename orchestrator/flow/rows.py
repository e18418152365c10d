"""Rows of a batch's file: taken apart, checked, told apart by their custom_id. What is wrong with one is said as OpenAI would."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from orchestrator.errors import InvalidRequest
from orchestrator.flow.lines import Line
from orchestrator.incoming import check_shape, holds_nul

MAX_CUSTOM_ID: Final = 512


class RowError(Exception):
    """A row that cannot become a job: what OpenAI's validation would say of it."""

    def __init__(
        self, code: str, message: str, line: int | None, param: str | None = None, custom_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.line, self.param, self.custom_id = code, message, line, param, custom_id


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A row whose form is right; its body is not checked yet."""

    custom_id: str
    body: Any


@dataclass(slots=True)
class RowParser:
    """Takes the rows of one file apart, and remembers their custom_ids: ten bytes of each."""

    endpoint: str
    most_bytes: int
    most_depth: int
    _seen: set[bytes] = field(default_factory=set)

    def parsed(self, line: Line) -> ParsedRow:
        """A line as a row; raises RowError with OpenAI's code for what is wrong."""
        row = self._object_in(line)
        custom_id = self._custom_id(row, line.number)
        if holds_nul(line.content or b""):
            message = "The row holds a NUL character, which cannot be stored. Remove it."
            raise RowError("invalid_text", message, line.number, custom_id=custom_id)
        if "rightsize" in row:
            message = "`rightsize` stands beside `body`, where nothing reads it. Put it into the body."
            raise RowError("misplaced_hints", message, line.number, "rightsize", custom_id)
        self._check_form(row, line.number, custom_id)
        return ParsedRow(custom_id, row.get("body"))

    def is_new(self, custom_id: str) -> bool:
        """Whether no row before had this custom_id; from now on one has."""
        mark = hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=10).digest()
        if mark in self._seen:
            return False
        self._seen.add(mark)
        return True

    def _object_in(self, line: Line) -> dict[str, Any]:
        if line.content is None:
            message = f"The row is longer than {self.most_bytes} bytes. Split it, or raise max_row_bytes."
            raise RowError("row_too_large", message, line.number)
        try:
            check_shape(line.content, self.most_depth, "line")
            row = orjson.loads(line.content)
        except InvalidRequest as error:
            raise RowError("invalid_json_line", error.message, line.number) from None
        except (orjson.JSONDecodeError, RecursionError) as error:
            message = f"The line is not valid JSON: {str(error)[:200]}."
            raise RowError("invalid_json_line", message, line.number) from None
        if not isinstance(row, dict):
            message = "The line must be a JSON object with custom_id, method, url and body."
            raise RowError("invalid_row", message, line.number)
        return row

    def _custom_id(self, row: dict[str, Any], number: int) -> str:
        custom_id = row.get("custom_id")
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID or "\0" in custom_id:
            message = f"`custom_id` must be text of 1 to {MAX_CUSTOM_ID} characters, without NUL."
            raise RowError("missing_custom_id", message, number, "custom_id")
        if not self.is_new(custom_id):
            message = f"The custom_id {custom_id[:80]!r} appears twice."
            raise RowError("duplicate_custom_id", message, number, "custom_id")
        return custom_id

    def _check_form(self, row: dict[str, Any], number: int, custom_id: str) -> None:
        declared = row.get("error")
        if isinstance(declared, dict) and "body" not in row:
            code = str(declared.get("code", "unreadable"))[:64]
            raise RowError(
                code, str(declared.get("message", "The row could not be read."))[:2000], number, custom_id=custom_id
            )
        if row.get("method", "POST") != "POST":
            raise RowError("invalid_method", "`method` must be POST.", number, "method", custom_id)
        if row.get("url", self.endpoint) != self.endpoint:
            message = f"`url` must be the batch's endpoint, {self.endpoint}."
            raise RowError("mismatched_endpoint", message, number, "url", custom_id)


def not_text(number: int, custom_id: str) -> RowError:
    """What is said of a row whose text no encoding can hold."""
    return RowError("invalid_text", "The row holds text that is not valid Unicode.", number, "body", custom_id)
