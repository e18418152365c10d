"""Results in the order of their input: kept on disk by their custom_id, so that a batch of any size takes little memory."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from orchestrator.client.call import Thing
from orchestrator.client.lines import Lines

MOST_LINE_BYTES: Final = 64 << 20
"""A line of the input that is longer is not looked into: the service takes none that long."""
PAGE: Final = 100
BOM: Final = b"\xef\xbb\xbf"


def result_files(batch: Mapping[str, Any]) -> list[str]:
    """The files of a batch's results: what succeeded, with a retried batch's merged into it, then what did not."""
    output = (batch.get("rightsize") or {}).get("merged_output_file_id") or batch.get("output_file_id")
    return [file_id for file_id in (output, batch.get("error_file_id")) if file_id]


class Names:
    """Reads an input file by pieces: the names that each of its rows may have in the results, in their order. Pure.

    A row without a custom_id of its own is `line-` and its number there.
    """

    def __init__(self) -> None:
        self._lines = Lines(MOST_LINE_BYTES)
        self._number = 0

    def feed(self, piece: bytes) -> list[tuple[str, ...]]:
        """The names of the rows that a piece ended."""
        return self._named(self._lines.feed(piece))

    def end(self) -> list[tuple[str, ...]]:
        """That of the last one, where its line has no end."""
        return self._named(self._lines.end())

    def _named(self, lines: Sequence[bytes | None]) -> list[tuple[str, ...]]:
        found = []
        for line in lines:
            self._number += 1
            content = line if line is None else (line.removeprefix(BOM) if self._number == 1 else line).strip()
            if content != b"":
                found.append(tuple(self._candidates(content)))
        return found

    def _candidates(self, line: bytes | None) -> Iterator[str]:
        own = _custom_id(line) if line else None
        if own is not None:
            yield own
        yield f"line-{self._number}"
        yield f"line-{self._number}-again"  # where another row bears that name


def _custom_id(line: bytes) -> str | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    own = row.get("custom_id") if isinstance(row, dict) else None
    return own if isinstance(own, str) else None


class Spool:
    """Result lines in a temporary file, found again by their custom_id; each is given back once."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rightsize-")
        path = Path(self._folder.name) / "results.sqlite"
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE lines (id INTEGER PRIMARY KEY, custom_id TEXT NOT NULL, line BLOB NOT NULL)",
            "CREATE INDEX by_custom_id ON lines (custom_id)",
        ):
            self._base.execute(statement)

    def put(self, lines: Sequence[bytes]) -> None:
        """Keep result lines."""
        rows = [(_custom_id(line) or "", line) for line in lines]
        self._base.execute("BEGIN")
        self._base.executemany("INSERT INTO lines (custom_id, line) VALUES (?, ?)", rows)
        self._base.execute("COMMIT")

    def take(self, rows: Sequence[Sequence[str]]) -> list[Thing]:
        """The results of some rows of the input by the names that each may have; what has none is left out."""
        self._base.execute("BEGIN")
        found = [result for names in rows if (result := self._one(names)) is not None]
        self._base.execute("COMMIT")
        return found

    def rest(self) -> list[Thing]:
        """Some of those that no row asked for, in the order in which they came; empty when there are no more."""
        found = self._base.execute("SELECT id, line FROM lines ORDER BY id LIMIT ?", (PAGE,)).fetchall()
        if found:
            self._base.execute("DELETE FROM lines WHERE id <= ?", (found[-1][0],))
        return [orjson.loads(line) for _, line in found]

    def _one(self, names: Sequence[str]) -> Thing | None:
        for name in names:
            row = self._base.execute(
                "SELECT id, line FROM lines WHERE custom_id = ? ORDER BY id LIMIT 1", (name,)
            ).fetchone()
            if row is not None:
                self._base.execute("DELETE FROM lines WHERE id = ?", (row[0],))
                result: Thing = orjson.loads(row[1])
                return result
        return None

    def close(self) -> None:
        """Remove the file."""
        self._base.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
