"""The report's page: well formed, loads nothing, shows names as text, and its plots can be read."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from orchestrator.rightsizing.advice.advise import advise
from orchestrator.rightsizing.advice.page import Report, page_html
from orchestrator.rightsizing.advice.page import plane as plot
from orchestrator.rightsizing.advice.page.labels import Box, Wish, placed
from orchestrator.rightsizing.advice.page.markup import written
from orchestrator.rightsizing.advice.page.scale import cost_axis, share_axis
from orchestrator.rightsizing.advice.savings import savings
from orchestrator.rightsizing.advice.words import money
from orchestrator.rightsizing.evidence.facts import Audits, ModelFacts, TaskFacts
from tests.rightsizing.made_facts import (
    certificate,
    certified,
    llm,
    model,
    on_the_reference,
    promoted,
    quality,
    specialist,
)

EVIL = [
    "<script>alert(1)</script>", "</style><script>alert(1)</script>", '" onload="alert(1)', "</title><img src=x onerror=alert(1)>", "]]><svg onload=x>",
    "<!--", "&lt;script&gt;", "\u202egpj.exe\u2066", "https://evil.example/x.png", "{{7*7}} ${title}", "\x00\x1b[2J", "url(https://evil.example)",
    "half \ud800 a letter", "``` `a`b`", "x" * 5_000,
]  # fmt: skip
VOID = {"meta"}
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "aside", "figure", "figcaption", "h1", "h2", "h3", "p", "dl", "div",
    "dt", "dd", "ul", "li", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "svg", "desc", "g", "rect", "circle", "polygon", "polyline",
    "line", "text", "span", "bdi", "b", "code", "strong",
}  # fmt: skip


class Strict(HTMLParser):
    """Holds a page to what we make: known elements, each closed in its order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN
        assert len({name for name, _ in attrs}) == len(attrs)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


def page_of(*tasks: TaskFacts, **more: Any) -> str:
    return page_html(Report(savings(tasks), tasks, [advise(one) for one in tasks], made_on=date(2026, 11, 28), **more))


def words_of(page: str) -> str:
    return " ".join(" ".join(Strict(page).texts).split())


def crowded() -> TaskFacts:
    """A task with many models that lie close together."""
    others = [
        model(f"some-model-{at}", "llm", 0, Decimal(at + 1) / 1_000, quality("labels", 940 + at % 5, 1_000))
        for at in range(9)
    ]
    return on_the_reference(9_000, None, *others, known=(quality("labels", 960, 1_000),))


@pytest.fixture(scope="module")
def page() -> str:
    labelled = replace(
        certified(),
        task="invoices",
        models=(
            llm(30_000, quality("labels", 588, 600), errors={"timeout": 12}),
            specialist(0, quality("labels", 540, 600), quality("agreement", 1_840, 2_000)),
        ),
    )
    small = replace(on_the_reference(50), task="contracts")
    return page_of(promoted(), labelled, small)


def test_the_page_is_well_formed_and_loads_and_runs_nothing(page: str) -> None:
    told = Strict(page)
    names = {name for name, _ in told.attributes}
    assert not names & {"src", "href", "srcset", "style", "action", "xlink:href"}
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"https?:|//|@import|url\(", page.replace("<!DOCTYPE html>", ""))
    assert LexborHTMLParser(page).css("script, link, iframe, img, object, embed, form, base, a") == []


def test_no_style_but_ours_would_hold_in_a_browser(page: str) -> None:
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert style
    assert policy
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_who_cannot_see_it_can_read_it(page: str) -> None:
    tree = LexborHTMLParser(page)
    ids = [node.attributes["id"] for node in tree.css("[id]")]
    assert len(set(ids)) == len(ids)
    for node in tree.css("[aria-labelledby]"):
        assert set(str(node.attributes["aria-labelledby"]).split()) <= set(ids)
    for table in tree.css("table"):
        assert table.css_first("caption").text()
        assert len({len(row.css("th, td")) for row in table.css("tr")}) == 1
    for drawing in tree.css("svg"):
        assert drawing.attributes.get("aria-hidden") == "true" or drawing.css_first("title").text()
    told = " ".join(drawing.text() for drawing in tree.css("svg.plane desc"))
    assert "specialist, then big: $14.39 a thousand jobs, 99.1% (98.5% to 99.5%)" in told


def test_the_figures_on_the_page_are_those_of_the_facts(page: str) -> None:
    words = words_of(page)
    assert "Callers paid $1,878 for 60,050 jobs." in words
    assert "Period 29 October 2026 to 27 November 2026" in words
    assert (
        "at a threshold of 0.83, specialist answers 75% alone (73% to 77%), and with a certainty of 95% at least 98% of these answers"
        in words
    )
    assert "Next step. Its certificate holds." in words
    assert "rightsize promote invoices --to shadow" in words
    assert "Do not move it. At 50 jobs a month a specialist cannot save anything" in words
    assert "its training, $2.00, is paid back after" in words
    assert "Agreement with the reference is not accuracy" in words


@pytest.mark.parametrize("amount, words", [("0", "$0"), ("1234.5", "$1,234"), ("-1234.5", "−$1,234"), ("12.346", "$12.35"), ("0.00384", "$0.0038"), ("1e-30", "<$0.00000001")])  # fmt: skip
def test_a_sum_is_shown_with_the_digits_that_count(amount: str, words: str) -> None:
    assert money(Decimal(amount)) == words


def test_simulated_models_are_named_before_any_figure_of_a_task() -> None:
    facts = promoted()
    words = words_of(page_of(replace(facts, models=tuple(replace(one, simulated=True) for one in facts.models))))
    assert words.index("Simulated models. Answers of big, specialist are made up") < words.index("Savings")
    assert "specialist (simulated)" in words
    assert "Simulated" not in words_of(page_of(facts))


def page_full_of(text: str) -> str:
    """A page that shows a text wherever a page shows a name."""
    first: ModelFacts = specialist(22_500, quality("agreement", 92, 100), rejected=7_500)
    models = (replace(llm(7_500), model=text, errors={text: 3}), replace(first, model=f"{text}2"))
    stage = replace(promoted().stage, certificate=certificate(model=f"{text}2"))
    facts = replace(promoted(), task=text, models=models, reference=text, stage=stage)
    tried = replace(
        facts,
        task=f"{text}3",
        stage=replace(stage, stage="none", certificate=certificate(model=f"{text}2", issued=False, reason=text)),
    )
    return page_of(facts, tried, title=text)


@pytest.mark.parametrize("evil", EVIL)
def test_names_and_reasons_are_only_text(evil: str) -> None:
    page = page_full_of(evil)
    Strict(page)
    tree = LexborHTMLParser(page)
    assert tree.css("script, img, svg svg, a, iframe, [onload], [onclick], [onerror]") == []
    assert len(tree.css("style")) == 1
    assert not set(page) & set("\0\x1b\u202e\u2066\ud800")
    if evil.isprintable() and evil.isascii() and evil == " ".join(evil.split()):
        assert tree.css_first("h1").text() == evil


@given(
    st.lists(st.tuples(st.floats(60, 740), st.floats(40, 350), st.floats(20, 230), st.floats(16, 34)), max_size=14),
    st.lists(st.tuples(st.floats(60, 740), st.floats(40, 350)), max_size=6),
)
def test_labels_never_stand_over_each_other_or_over_marks(
    wishes: list[tuple[float, float, float, float]], marks: list[tuple[float, float]]
) -> None:
    area = Box(60, 30, 750, 352)
    boxes = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in marks]
    found = [box for box in placed([Wish(*one) for one in wishes], boxes, [], area) if box is not None]
    assert all(area.holds(box) for box in found)
    assert not any(one.meets(other) for one, other in combinations(found, 2))
    assert not any(box.meets(mark) for box in found for mark in boxes)


def test_every_way_has_its_mark_and_its_label_or_is_named_beneath() -> None:
    facts = crowded()
    (plane,) = advise(facts).planes
    drawn = plot.drawing(plane, "x")
    tree = LexborHTMLParser(written(drawn.svg))
    assert len(tree.css("g.mark")) == 10
    assert len(tree.css("g.label")) + len(drawn.unlabelled) == 10
    assert len(tree.css("g.label")) >= 8
    assert all(name in words_of(page_of(facts)) for name in drawn.unlabelled)


def test_a_far_label_is_led_back_to_its_mark() -> None:
    (plane,) = advise(crowded()).planes
    assert LexborHTMLParser(written(plot.drawing(plane, "x").svg)).css("g.label line.leader")


def test_what_is_free_has_a_place_on_a_logarithmic_axis() -> None:
    free = model("free-one", "slm", 0, Decimal(0), quality("labels", 900, 1_000))
    words = words_of(page_of(on_the_reference(9_000, None, free, known=(quality("labels", 960, 1_000),))))
    assert "free · 90% (88% to 91.8%)" in words


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=12))
def test_the_cost_axis_holds_all_sums_and_has_few_round_marks(values: list[float]) -> None:
    axis = cost_axis(values)
    assert all(0 <= axis.at(value) <= 1 for value in values)
    assert all(-1e-9 <= axis.at(tick) <= 1 + 1e-9 for tick in axis.ticks)
    assert 1 <= len(axis.ticks) <= 8


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_quality_axis_holds_all_shares_and_marks_none_beyond_all(values: list[float]) -> None:
    axis = share_axis(values)
    assert all(0 <= axis.at(value) <= 1 for value in values)
    assert all(0 <= tick <= 1 for tick in axis.ticks)
    assert 1 <= len(axis.ticks) <= 8


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_their_ground(page: str, scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    told = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", blocks[scheme]))
    for name, least in {
        "ink": 7,
        "soft": 4.5,
        "accent": 4.5,
        "alarm": 4.5,
        "slm": 3,
        "llm": 3,
        "rlm": 3,
        "mllm": 3,
        "cascade": 3,
        "audits": 3,
    }.items():
        assert contrast(told[name], told["paper"]) >= least, name


def contrast(one: str, other: str) -> float:
    """By the formula of WCAG 2.2."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    "tasks",
    [
        [on_the_reference(0, 0.0)],
        [replace(on_the_reference(0, 0.0), models=())],
        [replace(promoted(), audits=Audits())],
        [replace(promoted(), models=())],
        [on_the_reference(3, None, model("m", "other-tier", 1, Decimal(0), quality("feedback", 1, 1)))],
    ],
    ids=["no-work", "no-models", "no-audits", "nothing-known", "odd-tier"],
)
def test_hardly_anything_known_makes_a_page_all_the_same(tasks: Sequence[TaskFacts]) -> None:
    words = words_of(page_of(*tasks))
    assert "None" not in words
    assert "nan" not in words.lower().split()


def test_a_hundred_tasks_make_no_huge_page() -> None:
    page = page_of(*(replace(promoted(), task=f"task-{at}") for at in range(100)))
    assert len(page) < 1_200_000
    words = words_of(page)
    assert "and 94 more" in words
    assert "60 further tasks, which cost less, stand in the table of savings alone" in words
    assert "task-99 30,000" in words


def test_the_same_facts_make_the_same_page() -> None:
    assert page_of(promoted(), crowded()) == page_of(promoted(), crowded())
