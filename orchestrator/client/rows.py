"""Work into the lines of a batch's file: requests, rows or texts one by one, or a file or folder as `rightsize submit` reads it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict

from orchestrator.client.call import CHAT, content_of
from orchestrator.client.sending import AsyncSource, Source, of_lines, of_rows
from orchestrator.errors import InvalidRequest

Item = Mapping[str, Any] | str | bytes
"""A batch row with its `body`, a request's body, a text, or a line that is JSON already."""
Work = str | os.PathLike[str] | Iterable[Item]
"""A path, or items."""
AsyncWork = Work | AsyncIterable[Item]


class Options(TypedDict, total=False):
    """What may be said about all rows of a batch; a row's own `rightsize` hints come first."""

    endpoint: str
    task: str | None
    tier: str | None
    stakes: str | None
    instructions: str | None
    """What to do with each file or text."""
    max_cost_usd: str | Decimal | None
    """The most that the whole of it may cost."""
    on_invalid_row: Literal["report", "fail"]
    """Whether a row that is wrong becomes an error line of its own, or fails the whole batch."""
    rightsize: Mapping[str, Any]
    """Further hints."""


class SubmitOptions(Options, total=False):
    """What may be said about a batch besides."""

    completion_window: str
    metadata: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options, with what holds where nothing is said."""

    endpoint: str = CHAT
    task: str | None = None
    tier: str | None = None
    stakes: str | None = None
    instructions: str | None = None
    max_cost_usd: str | Decimal | None = None
    on_invalid_row: Literal["report", "fail"] = "report"
    rightsize: Mapping[str, Any] = field(default_factory=dict)
    completion_window: str = "24h"
    metadata: Mapping[str, str] | None = None

    def hints(self, work: object) -> dict[str, Any]:
        """The `rightsize` object of the batch. What is read from files has its instructions in its rows."""
        given = {
            "task": self.task,
            "tier": self.tier,
            "stakes": self.stakes,
            "max_cost_usd": None if self.max_cost_usd is None else str(self.max_cost_usd),
            "instructions": None if is_path(work) else self.instructions,
        }
        known = {name: str(value) for name, value in given.items() if value is not None}
        return {"on_invalid_row": self.on_invalid_row, **self.rightsize, **known}


def is_path(work: object) -> bool:
    """Whether work is named by its path."""
    return isinstance(work, (str, os.PathLike))


def filename_of(work: object) -> str:
    """What the file of some work is called."""
    name = Path(work).name if isinstance(work, (str, os.PathLike)) else ""
    return f"{name or 'rows'}.jsonl"


def source_of(work: Work, wanted: Wanted) -> Source:
    """The lines of some work; raises InvalidRequest for a path that cannot be, and while it is read for an item that is none."""
    if isinstance(work, (str, os.PathLike)):
        return _of_path(Path(work), wanted)
    if isinstance(work, (Mapping, bytes)):
        raise InvalidRequest("One request alone is no batch: give a list of them, or send it with `submit_job`.")
    again = iter(work) is not work
    return of_rows(lambda: lines_of_items(work, wanted)) if again else of_lines(lines_of_items(work, wanted))


def async_source_of(work: AsyncWork, wanted: Wanted) -> Source | AsyncSource:
    """The same, for items that asynchronous code makes as well."""
    return AsyncSource(_lines_aside(work, wanted)) if isinstance(work, AsyncIterable) else source_of(work, wanted)


def lines_of_items(items: Iterable[Item], wanted: Wanted) -> Iterator[bytes]:
    """A line for each item."""
    for number, item in enumerate(items, 1):
        yield line_of(item, number, wanted.endpoint)


async def _lines_aside(items: AsyncIterable[Item], wanted: Wanted) -> AsyncIterator[bytes]:
    number = 0
    async for item in items:
        number += 1
        yield line_of(item, number, wanted.endpoint)


def line_of(item: object, number: int, endpoint: str) -> bytes:
    """An item as a row. One that does not name itself is `row-` and its place, from 1."""
    row: dict[str, Any] = {"custom_id": f"row-{number}", "method": "POST", "url": endpoint}
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return content_of({**row, "body": _body_for(item, endpoint)})
    if not isinstance(item, Mapping):
        raise InvalidRequest(
            f"Item {number} is {type(item).__name__}: give a batch row, a request's body, a text, or a line as bytes."
        )
    return content_of({**row, **item} if "body" in item else {**row, "body": item})


def _body_for(text: str, endpoint: str) -> dict[str, Any]:
    from orchestrator.documents.lines import RowOptions, body_for  # only where it is needed: the client stays light

    return body_for(text, RowOptions(endpoint=endpoint))


def _of_path(path: Path, wanted: Wanted) -> Source:
    from orchestrator.documents.rows import RowOptions, rows_of

    options = RowOptions(
        task=wanted.task, tier=_named(wanted.tier), stakes=wanted.stakes, instructions=wanted.instructions, endpoint=wanted.endpoint
    )  # fmt: skip
    rows_of(path, options)  # what can never be is said before anything is sent
    return of_rows(lambda: rows_of(path, options))


def _named(tier: str | None) -> str | None:
    return None if tier == "auto" else tier
