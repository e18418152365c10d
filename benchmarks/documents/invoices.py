"""Whether the values of an invoice's fields stand in what was read of it: days and amounts in any usual form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.documents.collection import Document, collected
from benchmarks.documents.reads import Read, read_all
from benchmarks.report import Row, Scale, at_least, told
from orchestrator.documents.apart.pool import Pool
from orchestrator.tasks.sources import Source

SHARE: Final = 0.95


def measure(_: Scale) -> list[Row]:
    collection = collected()
    wanted = [one for one in collection.good if one.fields is not None]
    at_once = os.cpu_count() or 1
    with Pool(children=at_once) as pool:
        found, _seconds = read_all(pool, wanted, at_once)
    texts = [one for one in found if not one.document.is_scan]
    pictures = [one for one in found if one.document.is_scan]
    return [*rows("invoices: fields found", texts, collection.origin, target=SHARE),
            *rows("pictures with fields: fields found", pictures, collection.origin, target=None)]  # fmt: skip


def rows(name: str, found: Sequence[Read], origin: str, target: float | None) -> list[Row]:
    if not found:
        return []
    there, missing = 0, []
    for one in found:
        source = Source(one.text)
        for where, value in values(one.document.fields):
            if source.find(value) is not None:
                there += 1
            else:
                missing.append(f"{short(one.document)} {where} = {str(value)[:40]!r}")
    share = there / (there + len(missing))
    shape = f"{there} of {there + len(missing)} fields of {len(found)} documents, {origin}; sentences made of another field are none"
    note = f"{shape}. Not found: {'; '.join(missing[:12])}" if missing else shape
    return [told(name, share, "", note=note) if target is None else at_least(name, share, target, "", note=note)]


def short(document: Document) -> str:
    return document.path.name


def values(fields: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that says something, with where it stands in the fields.

    Left out is a description such as `Invoice from ISSUER`: invoice2data writes it itself, and no document has it.
    """
    if isinstance(fields, dict):
        for name, one in fields.items():
            if one != f"Invoice from {fields.get('issuer')}":
                yield from values(one, f"{where}/{name}")
    elif isinstance(fields, list):
        for number, one in enumerate(fields):
            yield from values(one, f"{where}/{number}")
    elif fields is not None and str(fields).strip():
        yield where, fields
