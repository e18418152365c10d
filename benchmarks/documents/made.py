"""Documents of our own making, always the same ones: text, invoices, scans and what is broken, with a MANIFEST.csv as others have it."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from benchmarks.documents import broken, scanned, writing

Row = tuple[str, str, str, str]
"""A line of the manifest: file, kind, expected, note."""
_WORDS: Final = (
    "account address amount answer batch before between board bridge careful clear client contract copper count current "
    "deliver depth document door early engine evening field figure final forest garden glass harbour heavy hundred image journey "
    "kitchen ladder letter level linen machine market matter measure metal morning mountain number offer order output paper parcel "
    "pattern place plain planet price quarter question quiet reader reason record river season second signal silver simple station "
    "street summer supply table thousand timber total travel village voyage weather window winter worker yellow"
)
VOCABULARY: Final = tuple(_WORDS.split())
SEED: Final = 7
TEXTS: Final = 4
"""Of each kind."""
INVOICES: Final = 6
SCANS: Final = 8
POOREST: Final = 0.75
"""Of a scan that people can just read."""
MAKERS: Final[Mapping[str, Callable[[Sequence[str]], bytes]]] = {
    ".pdf": writing.pdf, ".docx": writing.docx, ".html": writing.html, ".eml": writing.eml,
}  # fmt: skip
"""By suffix; all others are plain text."""


def sentence(draw: random.Random) -> str:
    """Some words, with a number now and then."""
    chosen = [draw.choice(VOCABULARY) for _ in range(draw.randrange(6, 14))]
    if draw.random() < 0.3:
        chosen.insert(3, str(draw.randrange(2, 9999)))
    return " ".join(chosen).capitalize() + "."


def paragraphs(draw: random.Random, count: int) -> list[str]:
    """Paragraphs of some sentences each."""
    return [" ".join(sentence(draw) for _ in range(draw.randrange(2, 6))) for _ in range(count)]


def collection(folder: Path) -> Path:
    """Fill a folder with a collection, in the place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(SEED)
    rows = [*_texts(folder, draw), *_invoices(folder, draw), *_scans(folder, draw), *_nasty(folder)]
    with (folder / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "kind", "expected", "note"])
        writer.writerows(rows)
    return folder


def many(folder: Path, count: int, kinds: Sequence[str], size: int, title: str = "Document") -> list[Path]:
    """`count` documents of some kinds in turn, each of about `size` paragraphs and unlike all others; a hundred in a subfolder.

    Those of another `title` are other documents.
    """
    draw, found = random.Random(SEED), []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        path = folder / f"{number // 100:03}" / f"{number:05}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, [f"{title} {number}", *paragraphs(draw, size)])
        found.append(path)
    return found


def write(path: Path, parts: Sequence[str]) -> None:
    """A document of the kind that its name says."""
    path.write_bytes(MAKERS.get(path.suffix, _plain)(parts))


def _plain(parts: Sequence[str]) -> bytes:
    return "\n\n".join(parts).encode()


def _texts(folder: Path, draw: random.Random) -> Iterator[Row]:
    where = folder / "good" / "texts"
    where.mkdir(parents=True)
    for kind in ("txt", "md", "html", "docx", "eml", "pdf"):
        for number in range(TEXTS):
            parts = paragraphs(draw, draw.randrange(5, 60))
            expected = where / f"{kind}-{number}.expected.txt"
            write(where / f"{kind}-{number}.{kind}", parts)
            expected.write_text("\n\n".join(parts), "utf-8")
            yield f"good/texts/{kind}-{number}.{kind}", "good", f"good/texts/{expected.name}", "made"


def _invoices(folder: Path, draw: random.Random) -> Iterator[Row]:
    """Invoices that write days and amounts in the ways of several countries."""
    where = folder / "good" / "invoices"
    where.mkdir(parents=True)
    for number in range(INVOICES):
        day = date(2025, 1, 1) + timedelta(draw.randrange(700))
        net, tax = draw.randrange(1000, 900_000) / 100, draw.randrange(100, 90_000) / 100
        fields = {"invoice_number": f"R-{draw.randrange(10**6):06}", "date": day.isoformat(), "amount_untaxed": net,
                  "amount_tax": tax, "amount": round(net + tax, 2), "issuer": f"{draw.choice(VOCABULARY).title()} Ltd"}  # fmt: skip
        is_german = number % 2
        written = {name: (_german(value) if is_german else f"{value:,.2f}") if isinstance(value, float) else value
                   for name, value in fields.items()}  # fmt: skip
        written["date"] = f"{day:%d.%m.%Y}" if is_german else f"{day:%B} {day.day}, {day.year}"
        lines = [f"{name.replace('_', ' ').capitalize()}: {value}" for name, value in written.items()]
        write(where / f"{number}.pdf", [str(fields["issuer"]), *lines, sentence(draw)])
        (where / f"{number}.json").write_text(json.dumps([fields]), "utf-8")
        yield f"good/invoices/{number}.pdf", "good", f"good/invoices/{number}.json", "made"


def _german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def _scans(folder: Path, draw: random.Random) -> Iterator[Row]:
    """Pages from clean to poor, each a picture with the text that was painted on it."""
    where = folder / "good" / "scans"
    where.mkdir(parents=True)
    for number in range(SCANS):
        lines = [sentence(draw) for _ in range(18)]
        picture = scanned.page(lines, poor=POOREST * number / (SCANS - 1), draw=draw)
        picture.save(where / f"{number}.png")
        (where / f"{number}.txt").write_text("\n".join(lines), "utf-8")
        yield f"good/scans/{number}.png", "good", f"good/scans/{number}.txt", "made: a scan"


def _nasty(folder: Path) -> Iterator[Row]:
    where = folder / "nasty"
    where.mkdir(parents=True)
    for name, data in broken.files().items():
        (where / name).write_bytes(data)
        yield f"nasty/{name}", "nasty", "", "made"
