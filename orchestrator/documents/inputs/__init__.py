"""What is handed in as documents: files, folders, archives, tables, buckets, URLs and standard input, each document by name.

Every document ends as one Input, also what cannot be read. `check` refuses what can never work before anything begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.documents.inputs.checking import check
from orchestrator.documents.inputs.document import Input, Known, hash_of, hashed
from orchestrator.documents.inputs.globs import matching
from orchestrator.documents.inputs.paths import from_found, from_path
from orchestrator.documents.inputs.spool import Spool
from orchestrator.documents.inputs.standard import from_stdin
from orchestrator.documents.inputs.tables import from_table
from orchestrator.documents.inputs.wanted import LIST, Wanted, name_of
from orchestrator.errors import InvalidRequest

if TYPE_CHECKING:
    from orchestrator.documents.inputs.web import Get

__all__ = ["Input", "Known", "Wanted", "check", "hash_of", "hashed", "inputs_of", "name_of"]


def inputs_of(wanted: Wanted, spool: Path, get: Get | None = None) -> Iterator[Input]:
    """Every document of what was named, by name, one at a time; copies go under `spool`, a folder that is there.

    `get` asks for URLs: `webhooks.fetch.Fetcher`. Raises InvalidRequest where there is nothing to be found at all.
    """
    copies, path = Spool(spool), Path(wanted.place)
    match wanted.kind:
        case "stdin":
            if wanted.stdin is None:
                raise InvalidRequest("Standard input is closed. Pipe a document into it, or name a file.")
            return from_stdin(wanted.stdin, copies)
        case "bucket":
            from orchestrator.documents.inputs.bucket import from_bucket

            return from_bucket(wanted.place, copies)
        case "url" | "urls":
            return _from_web(wanted, copies, get)
        case "pattern":
            return from_found(matching(wanted.place), copies)
    if columns := wanted.columns:
        return from_table(path, columns, copies)
    return from_path(path, copies)


def _from_web(wanted: Wanted, copies: Spool, get: Get | None) -> Iterator[Input]:
    from orchestrator.documents.inputs.web import from_list, from_url

    if get is None:
        raise InvalidRequest("URLs are not fetched here. Fetch the documents yourself, and submit their files.")
    if wanted.kind == "url":
        return iter([from_url(wanted.place, wanted.hosts, get, copies)])
    return from_list(Path(wanted.place.removeprefix(LIST)), wanted.hosts, get, copies)
