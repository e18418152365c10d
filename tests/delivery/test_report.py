"""The report: one page that is well formed, loads nothing, and shows what documents say as text (A21)."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from orchestrator.delivery.plain import duration, money, share
from orchestrator.delivery.report import Heading, report_html, write_report
from orchestrator.delivery.report.scale import scale_of
from orchestrator.delivery.summary import summed
from orchestrator.errors import InvalidRequest
from tests.delivery.lines import SCHEMA, failed, invoices, line
from tests.delivery.test_answers import ANY_LINE

HEADING = Heading("Invoices of 2026", "batch_0199", made_on=date(2026, 11, 28))
EVIL = [
    "<script>alert(1)</script>", "</style><script>alert(1)</script>", '" onload="alert(1)', "' onclick='x", "</title><img src=x onerror=alert(1)>",
    "]]><svg onload=x>", "<!--", "-->", "&lt;script&gt;", "\u202egpj.exe\u2066", "https://evil.example/x.png", "javascript:alert(1)", "$style ${title} $$",
    "{{7*7}}", "\x00\x1b[2J", "url(https://evil.example)", "@import 'https://evil.example'", "half \ud800 a letter",
]  # fmt: skip
VOID = {"meta"}
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "aside", "figure", "figcaption", "h1", "h2", "p", "dl", "div", "dt",
    "dd", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "svg", "desc", "g", "rect", "circle", "polygon", "line", "text", "span",
    "bdi", "b", "code", "strong",
}  # fmt: skip


class Strict(HTMLParser):
    """Holds a page to what we make: known elements, each closed in its order, each attribute once."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.shape: list[tuple[str, ...]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN
        assert len({name for name, _ in attrs}) == len(attrs)
        self.attributes += attrs
        self.shape.append((tag, *(name for name, _ in attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"rect", "circle", "polygon", "line"}
        self.shape.append((tag, *(name for name, _ in attrs)))
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


def page_of(lines: Any, heading: Heading = HEADING, schema: Any = SCHEMA) -> str:
    return report_html(summed(lines, schema), heading)


def words_of(page: str) -> str:
    return " ".join(" ".join(Strict(page).texts).split())


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(invoices(800))


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    told = Strict(page)
    names = {name for name, _ in told.attributes}
    assert not names & {"src", "href", "srcset", "style", "action", "xlink:href"}
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"https?:|//|@import|url\(", page.replace("<!DOCTYPE html>", ""))
    tree = LexborHTMLParser(page)
    assert tree.css("script, link, iframe, img, object, embed, form, base, a") == []
    assert len(tree.css("svg circle")) > 100  # drawings are read as drawings, each mark for itself
    assert not tree.css("rect rect, circle circle, line line")


def test_no_style_but_ours_would_hold_in_a_browser(page: str) -> None:
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert style
    assert policy
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_who_cannot_see_it_can_read_it(page: str) -> None:
    tree = LexborHTMLParser(page)
    assert tree.css_first("html").attributes["lang"] == "en"
    assert [node.tag for node in tree.css("h1, h2, h3")] == ["h1"] + ["h2"] * 7
    ids = [node.attributes["id"] for node in tree.css("[id]")]
    assert len(set(ids)) == len(ids)
    for node in tree.css("[aria-labelledby]"):
        assert set(str(node.attributes["aria-labelledby"]).split()) <= set(ids)
    for table in tree.css("table"):
        assert table.css_first("caption").text()
        assert all(cell.attributes["scope"] == "col" for cell in table.css("thead th"))
        assert all(cell.attributes["scope"] == "row" for cell in table.css("tbody th"))
        assert len({len(row.css("th, td")) for row in table.css("tr")}) == 1
    for drawing in tree.css("svg"):
        assert drawing.attributes.get("aria-hidden") == "true" or drawing.css_first("title").text()


def test_colours_of_text_can_be_read_on_paper(page: str) -> None:
    told = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", page))
    for name, least in {
        "ink": 7,
        "soft": 4.5,
        "accent": 4.5,
        "alarm": 4.5,
        "slm": 3,
        "llm": 3,
        "rlm": 3,
        "mllm": 3,
        "other": 3,
    }.items():
        assert contrast(told[name], "#ffffff") >= least, name


def contrast(one: str, other: str) -> float:
    """By the formula of WCAG 2.2."""

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_the_figures_on_the_page_are_those_of_the_lines(page: str) -> None:
    summary = summed(invoices(800), SCHEMA)
    words = words_of(page)
    assert (
        f"Of 800 documents, {summary.done} were answered and {summary.failed} failed ({share(summary.failed, 800)})."
        in words
    )
    assert f"They cost {money(summary.cost_usd)}, {money(summary.cost_usd / 800)} a document." in words
    assert "Batch batch_0199" in words
    assert "Task invoice-fields" in words
    assert "Date 28 November 2026" in words
    for name, tier in summary.tiers.items():
        if tier.fresh:
            assert f"{name} {tier.documents} {tier.failed} {tier.reused}" in words
    assert "password_required" in words
    assert "What to do: Save it anew." in words
    assert summary.dearest[0].name in words


def test_every_document_of_a_small_batch_is_a_mark_in_the_plot() -> None:
    tree = LexborHTMLParser(
        page_of([line(tier=tier, cost_usd="0.5") for tier in ("slm", "llm", "rlm", "mllm", "x") for _ in range(3)])
    )
    shown = [len(tree.css(f".points.tier-{form} > *")) for form in range(5)]
    assert shown == [3] * 5


def test_simulated_models_are_named_before_any_figure() -> None:
    words = words_of(page_of(invoices(100, simulated=True)))
    place = words.index("come from simulated models (simulated-")
    assert place < words.index("Tiers and cost")
    assert "Simulated." not in words_of(page_of(invoices(100)))


def page_full_of(text: str) -> str:
    """A page that shows a text wherever a page shows one."""
    told = {"name": f"{text}.pdf", "kind": text, "pages": 1, "chars": 100, "sources": {"text": 1}}
    more: dict[str, Any] = {"tier": text, "model": text, "task": text, "document": told, "simulated": True}
    review = {"fields": {f"/{text}": {"found": False, "review": text}, "/x": {"found": False, "review": text}}}
    lines = [
        line(answer={text: {text: text}, "x": text}, **review, **more),
        line(**more),
        failed("x", text, f"{text} it. Try {text}.", document=told),
    ]
    return page_of(lines, Heading(text, text, text), None)


@pytest.mark.parametrize("evil", EVIL)
def test_a21_what_documents_and_models_say_is_only_text(evil: str) -> None:
    page = page_full_of(evil)
    assert Strict(page).shape == Strict(page_full_of("harmless")).shape
    tree = LexborHTMLParser(page)
    assert tree.css("script, img, svg svg, a, iframe, [onload], [onclick], [onerror]") == []
    assert len(tree.css("style")) == 1
    assert not set(page) & set("\0\x1b\u202e\u2066\ud800")
    if evil.isprintable() and evil.isascii():
        assert all(node.text() == evil for node in tree.css("h1, .said dd"))


@given(st.lists(ANY_LINE, max_size=6))
def test_a21_any_lines_make_a_page_that_is_well_formed(lines: list[dict[str, Any]]) -> None:
    Strict(page_of(lines, schema=None))


@pytest.mark.parametrize("lines", [[], [failed()], [line()], [line(reused=True, cost_usd="0", engine_s=None)], [{}]], ids=["none", "failed", "one", "reused", "empty"])  # fmt: skip
def test_a_batch_with_hardly_anything_in_it_has_a_page_all_the_same(lines: list[Any]) -> None:
    words = words_of(page_of(lines, schema=None))
    assert "Invoices of 2026" in words
    assert "None" not in words
    assert "nan" not in words


def test_a_huge_batch_makes_no_huge_page(tmp_path: Path) -> None:
    write_report(invoices(4_000), tmp_path / "r.html", HEADING, schema=SCHEMA)
    assert (tmp_path / "r.html").stat().st_size < 250_000
    assert "at most 400 documents are drawn" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_same_lines_make_the_same_page() -> None:
    assert page_of(invoices(1_000)) == page_of(invoices(1_000))


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Name a file in a folder"):
        write_report([line()], tmp_path / "no" / "r.html", HEADING)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidRequest, match="Is a directory"):
        write_report([line()], tmp_path / "folder", HEADING)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@given(st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=20))
def test_an_axis_holds_all_its_values_and_has_few_ticks(values: list[float]) -> None:
    scale = scale_of(values)
    assert all(-1e-9 <= scale.place(value) <= 1 + 1e-9 for value in values)
    assert all(-1e-9 <= scale.place(tick) <= 1 + 1e-9 for tick in scale.ticks)
    assert 2 <= len(scale.ticks) <= 9
    assert list(scale.ticks) == sorted(set(scale.ticks))


@pytest.mark.parametrize(
    "part, whole, words",
    [
        (0, 5, "0%"),
        (5, 5, "100%"),
        (1, 3, "33.3%"),
        (1, 100_000, "<0.1%"),
        (99_999, 100_000, ">99.9%"),
        (1, 0, "–"),
        (999, 1_000, "99.9%"),
    ],
)
def test_a_share_is_never_rounded_to_nothing_or_all(part: int, whole: int, words: str) -> None:
    assert share(part, whole) == words


@pytest.mark.parametrize(
    "amount, words",
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.5", "$0.50"),
        ("0.00384", "$0.0038"),
        ("0.00000001", "<$0.000001"),
        ("0.0000012", "$0.0000012"),
    ],
)
def test_a_small_sum_is_shown_with_the_digits_that_count(amount: str, words: str) -> None:
    assert money(Decimal(amount)) == words


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 ms"),
        (0.0001, "<1 ms"),
        (0.25, "250 ms"),
        (59, "59.0 s"),
        (600, "10 min"),
        (9_000, "2.5 h"),
        (864_000, "10.0 days"),
    ],
)
def test_a_time_is_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == words
