"""Which pages go to a model with eyes, against sending every scan there, and what that costs in words on a reader that sees perfectly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.documents.collection import collected
from benchmarks.documents.reads import Read, read_all
from benchmarks.documents.words import found_words
from benchmarks.report import Row, Scale, at_least, at_most, told
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.choice import Policy, choose
from orchestrator.documents.reading import Page

SHARE: Final = 0.40
POINTS: Final = 0.03


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a document's pages, and of the words of its transcript where one is known."""

    name: str
    scanned: int
    looked_at: int
    found: int = 0
    wanted: int = 0


def measure(_: Scale) -> list[Row]:
    collection = collected()
    at_once = os.cpu_count() or 1
    with Pool(children=at_once) as pool:
        found, _seconds = read_all(pool, collection.good, at_once)
    refused = [f"{one.document.name}: {one.error.message}" for one in found if one.error is not None]
    return [*rows([seen(one, Policy()) for one in found if one.error is None], collection.origin),
            at_most("good documents and pictures that were refused", len(refused), 0, "", note="; ".join(refused))]  # fmt: skip


def seen(one: Read, policy: Policy) -> Seen:
    """How a document's scanned pages go to a model. One that is looked at counts as read perfectly, if all of its pages are."""
    pages = one.reading.pages if one.reading is not None else ()
    scanned = [page for page in pages if is_scanned(page)]
    looks = [choose(page, policy).look for page in pages]
    transcript = one.document.text if scanned else None
    if transcript is None:
        return Seen(one.document.name, len(scanned), sum(looks))
    by_text = "\n\n".join(page.text for page, look in zip(pages, looks, strict=True) if not look)
    found, wanted = found_words(by_text, transcript)
    return Seen(one.document.name, len(scanned), sum(looks), wanted if all(looks) else found, wanted)


def is_scanned(page: Page) -> bool:
    """Whether a page has no text layer to go by."""
    return page.source != "text"


def rows(found: Sequence[Seen], origin: str) -> list[Row]:
    scanned, looked_at = sum(one.scanned for one in found), sum(one.looked_at for one in found)
    there, wanted = sum(one.found for one in found), sum(one.wanted for one in found)
    known = [one for one in found if one.wanted]
    least = sorted(known, key=lambda one: one.found / one.wanted)[:4]
    return [
        at_most("pages that go to a model with eyes, of all scanned ones", looked_at / scanned, SHARE, "",
                note=f"{looked_at} of {scanned} pages; {', '.join(one.name for one in found if one.looked_at) or 'none'}; {origin}"),
        at_least("recall of words, less that of looking at all of them", there / wanted - 1, -POINTS, "",
                 note=f"{there} of {wanted} words of {len(known)} transcripts; a page that is looked at counts as read perfectly; the least "
                      + ", ".join(f"{one.name} {one.found / one.wanted:.3f}" for one in least)),
        told("recall of words of the documents that are not looked at", _unseen(known), ""),
    ]  # fmt: skip


def _unseen(known: Sequence[Seen]) -> float:
    plain = [one for one in known if not one.looked_at]
    wanted = sum(one.wanted for one in plain)
    return sum(one.found for one in plain) / wanted if wanted else 0.0
