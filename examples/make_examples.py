"""Make the example files from hand-written parts, with a fixed seed: the same parts always give the same text files.

    python examples/make_examples.py [--out FOLDER] [--draw-pages]

It writes tickets-train.csv, tickets.csv, tickets-labelled.csv, trace.csv and demo.jsonl, and draws pages/*.png (with Pillow) where there are none.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import math
import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SEED: Final = 20_261
ROWS_A_LABEL: Final = 25
TYPO_SHARE: Final = 0.15
TRACE_ROWS: Final = 240
LABELLED_ROWS: Final = 1_500
PAGE_SIZE: Final = (620, 800)
INSTRUCTIONS: Final = "Classify the support ticket. Answer with exactly one label of: {labels}."


@dataclass(frozen=True, slots=True)
class Page:
    """What stands on one page image."""

    name: str
    title: str
    lines: tuple[str, ...]


def tickets(parts: dict[str, Any], split: str, dice: random.Random) -> list[tuple[str, str]]:
    """(text, label) for each ticket of a split, mixed, no two texts equal."""
    rows: dict[str, str] = {}
    for label, sentences in sorted(parts["labels"].items()):
        wanted = len(rows) + ROWS_A_LABEL
        turn = 0
        while len(rows) < wanted:
            rows.setdefault(_ticket(sentences[split][turn % len(sentences[split])], parts, dice), label)
            turn += 1
    mixed = list(rows.items())
    dice.shuffle(mixed)
    return mixed


def traffic(parts: dict[str, Any], rows: int, dice: random.Random) -> list[tuple[str, str]]:
    """(text, label) for tickets as they come in: of all labels and all sentences alike, no two texts equal."""
    made: dict[str, str] = {}
    while len(made) < rows:
        label = dice.choice(sorted(parts["labels"]))
        sentences = parts["labels"][label]
        made.setdefault(_ticket(dice.choice(sentences["train"] + sentences["unseen"]), parts, dice), label)
    return list(made.items())


def _ticket(sentence: str, parts: dict[str, Any], dice: random.Random) -> str:
    pieces = [dice.choice(parts["openers"]), sentence, dice.choice(parts["closers"])]
    text = " ".join(piece for piece in pieces if piece).format(
        product=dice.choice(parts["products"]),
        name=dice.choice(parts["names"]),
        day=dice.choice(parts["days"]),
        order=f"#{dice.randint(10_000, 99_999)}",
        amount=f"${dice.randint(4, 240)}.{dice.choice(('00', '50', '90', '99'))}",
    )
    return _with_typo(text, dice) if dice.random() < TYPO_SHARE else text


def _with_typo(text: str, dice: random.Random) -> str:
    """A text with two neighbouring letters exchanged, one left out, or everything in small letters."""
    places = [place for place in range(len(text) - 1) if text[place : place + 2].isalpha()]
    place = dice.choice(places)
    kind = dice.randrange(3)
    if kind == 0:
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + text[place + 1 :] if kind == 1 else text.lower()


def pages() -> Iterator[Page]:
    """The twelve pages: five invoices, four receipts, three letters."""
    dice = random.Random(SEED)  # noqa: S311 (examples, not secrets)
    goods = [("Desk lamp", 39), ("Backpack", 84), ("Notebook", 6), ("Charger", 25), ("Speaker", 120), ("Meal box", 48)]
    shops = ["Corner Bakery", "Harbour Books", "Green Grocer", "Station Kiosk"]
    firms = ["Larch & Finch Ltd", "Nimbus Supplies", "Fjord Outfitters", "Quill Paper Co", "Tidal Audio"]
    for number, firm in enumerate(firms, 1):
        bought = [(name, dice.randint(1, 5), price) for name, price in dice.sample(goods, 3)]
        net = sum(count * price for _, count, price in bought)
        lines = [
            f"Invoice no. {2026_000 + number}",
            f"Date: {number + 3:02} March 2026",
            "Bill to: Example Household, 1 Sample Street",
            "",
        ]
        lines += [f"{count} x {name}   {count * price}.00 EUR" for name, count, price in bought]
        tax = f"{net * 0.2:.2f}"
        lines += [
            "",
            f"Net   {net}.00 EUR",
            f"VAT 20%   {tax} EUR",
            f"Total   {net * 1.2:.2f} EUR",
            "",
            "Payable within 14 days.",
        ]
        yield Page(f"invoice-{number:02}", f"{firm} - INVOICE", tuple(lines))
    for number, shop in enumerate(shops, 1):
        bought = [(name, dice.randint(1, 3), price) for name, price in dice.sample(goods, 2)]
        total = sum(count * price for _, count, price in bought)
        lines = [
            f"{number + 10} April 2026   12:{number}5",
            "",
            *(f"{count} {name}   {count * price}.00" for name, count, price in bought),
        ]
        lines += ["", f"TOTAL   {total}.00", "Paid by card", "Thank you for your visit"]
        yield Page(f"receipt-{number:02}", shop, tuple(lines))
    letters = (
        ("Notice of a new address", "From 1 June our office is in 5 Mill Lane.", "Please send all letters there."),
        (
            "Complaint about a late delivery",
            "Our order of 2 May came nine days late.",
            "We ask for a credit of 40 EUR.",
        ),
        ("Invitation", "We open our new workshop on 12 July at 4 pm.", "Please tell us by 1 July if you can come."),
    )
    for number, (subject, first, second) in enumerate(letters, 1):
        lines = [
            f"{number + 20} May 2026",
            "",
            f"Subject: {subject}",
            "",
            "Dear Sir or Madam,",
            "",
            first,
            second,
            "",
            "Yours faithfully,",
            "J. Sample",
        ]
        yield Page(f"letter-{number:02}", "Example Workshop", tuple(lines))


def draw(page: Page, folder: Path) -> None:
    """Draw a page as a small PNG of 16 greys."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("L", PAGE_SIZE, 255)
    pen = ImageDraw.Draw(picture)
    pen.text((50, 50), page.title, fill=0, font=ImageFont.load_default(28))
    pen.line((50, 96, PAGE_SIZE[0] - 50, 96), fill=0, width=2)
    for row, line in enumerate(page.lines):
        pen.text((50, 120 + 34 * row), line, fill=0, font=ImageFont.load_default(20))
    picture.quantize(16).save(folder / f"{page.name}.png", optimize=True)


def trace() -> Iterator[tuple[str, int, int, str]]:
    """The rows of trace.csv, by a formula: two minutes that swell and ebb like a day, most requests short, a few long.

    The gap to the next request follows a sine; lengths follow the fractional parts of multiples of the golden ratio
    (spread evenly, without dice), raised so that few are long. Every fifth row names a tier, in turn.
    """
    at_s, golden = 0.0, (5**0.5 - 1) / 2
    for number in range(TRACE_ROWS):
        first, second = (number * golden) % 1.0, (number * golden**2 + 0.5) % 1.0
        tier = ("slm", "rlm", "mllm")[number // 5 % 3] if number % 5 == 4 else ""
        yield f"{at_s:.3f}", 40 + int(1_500 * first**4), 5 + int(250 * second**3), tier
        at_s += 0.5 - 0.4 * math.sin(2 * math.pi * number / TRACE_ROWS)


def demo(unseen: list[tuple[str, str]], labels: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of the demo's one batch: no row names a tier."""
    named = ",".join(labels)
    system = {"role": "system", "content": INSTRUCTIONS.format(labels=", ".join(labels))}
    for number, (text, label) in enumerate(unseen, 1):
        body = {
            "messages": [system, {"role": "user", "content": text}],
            "metadata": {"expected": label, "labels": named},
            "rightsize": {"task": "support-triage"},
        }
        yield _row(f"ticket-{number:03}", body)
    for kind in ("research", "strategy"):
        for line in (HERE / f"{kind}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            hints = {"rightsize": row["rightsize"]} if "rightsize" in row else {}
            yield _row(row["id"], {"messages": [{"role": "user", "content": row["text"]}], **hints})
    for path in sorted(folder.glob("*.png")):
        url = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        question = {
            "type": "text",
            "text": "What kind of document is this, who wrote it, and what is the total or the request?",
        }
        content = [question, {"type": "image_url", "image_url": {"url": url}}]
        yield _row(f"page-{path.stem}", {"messages": [{"role": "user", "content": content}]})


def _row(custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "auto", **body}}


def write(out: Path, *, draw_pages: bool) -> None:
    """Write all files into a folder; the pages of the demo are those in `pages` beside this script, once drawn."""
    parts = tomllib.loads((HERE / "ticket_parts.toml").read_text("utf-8"))
    dice = random.Random(SEED)  # noqa: S311 (examples, not secrets)
    splits = {"tickets-train.csv": tickets(parts, "train", dice), "tickets.csv": tickets(parts, "unseen", dice)}
    more = traffic(parts, LABELLED_ROWS, random.Random(SEED + 1))  # noqa: S311 (examples, not secrets)
    for name, labelled in {**splits, "tickets-labelled.csv": more}.items():
        with (out / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("text", "label"), *labelled])
    with (out / "trace.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("arrival", "input_tokens", "output_tokens", "tier"), *trace()]
        )
    drawn = HERE / "pages"
    if draw_pages or not any(drawn.glob("*.png")):
        drawn.mkdir(exist_ok=True)
        for page in pages():
            draw(page, drawn)
    rows = demo(splits["tickets.csv"], sorted(parts["labels"]), drawn)
    (out / "demo.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")


def main() -> None:
    """Write the files where they belong, or where `--out` says."""
    parser = argparse.ArgumentParser(description="Make the example files.")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument(
        "--draw-pages", action="store_true", help="draw pages/*.png anew, which depends on Pillow's version"
    )
    flags = parser.parse_args()
    write(flags.out, draw_pages=flags.draw_pages)


if __name__ == "__main__":
    main()
