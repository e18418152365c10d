"""What a caller named as documents, and which kind of place that is. Looks at names, and opens nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Literal
from urllib.parse import urlsplit

from orchestrator.documents.inputs.globs import is_pattern, root_of
from orchestrator.documents.inputs.rows import Columns
from orchestrator.documents.lines import clean_id

Kind = Literal["stdin", "bucket", "url", "urls", "path", "pattern"]

STANDARD: Final = "-"
BUCKET: Final = "s3://"
WEB: Final = ("https://", "http://")
LIST: Final = "@"
_MOST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was named, and how."""

    place: str
    """As typed: a file, folder, pattern, table, `-`, `s3://...`, `https://...`, or `@` and a file with URLs."""
    text_column: str | None = None
    """Of a table: each row is a document, and its text stands here."""
    path_column: str | None = None
    """Of a table: each row is a document, and the name of its file stands here."""
    id_column: str | None = None
    """Of a table: what its documents are called."""
    hosts: tuple[str, ...] = ()
    """Whose URLs are fetched: names of hosts, and `*.example.com` for all below one."""
    stdin: BinaryIO | None = None

    @property
    def kind(self) -> Kind:
        """Which kind of place it is. A file of the very name goes before a pattern and a list of URLs."""
        place = self.place
        if place == STANDARD:
            return "stdin"
        if place.lower().startswith(BUCKET):
            return "bucket"
        if place.lower().startswith(WEB):
            return "url"
        if os.path.lexists(place):
            return "path"
        if place.startswith(LIST):
            return "urls"
        return "pattern" if is_pattern(place) else "path"

    @property
    def columns(self) -> Columns | None:
        """The columns of a table that are read; None where no column was named."""
        content = self.text_column if self.text_column is not None else self.path_column
        return None if content is None else Columns(content, self.text_column is None, self.id_column)


def name_of(wanted: Wanted) -> str:
    """A short name for what is made of it: no query and no account of a URL, no sign of a pattern."""
    name = _name(wanted).strip()
    return clean_id(name)[:_MOST_NAME] if name else "documents"


def _name(wanted: Wanted) -> str:
    place = wanted.place
    match wanted.kind:
        case "stdin":
            return "stdin"
        case "bucket":
            return PurePosixPath(place[len(BUCKET) :]).name
        case "url":
            return _name_of_url(place)
        case "urls":
            return Path(place.removeprefix(LIST)).name
        case "pattern":
            return root_of(place).name
    return Path(place).name


def _name_of_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        return PurePosixPath(parts.path).name or parts.hostname or ""
    except ValueError:
        return ""
