"""What an answer is held to, and where its values are found in the document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tasks.checks import Check, values_at, violations
from orchestrator.tasks.sources import Place, Source
from orchestrator.tasks.verdict import Held, located, sought_in

TEXT = (
    "Rechnung Nr. RE-2014/123\nvom 3. August 2014\nBetrag: 1.234,50 EUR, Steuer 12 %\nTotal $ 1,023.00 due 08/05/2015"
)


def check(field: str, rule: str, **more: Any) -> Check:
    return Check.model_validate({"field": field, "rule": rule, **more})


@pytest.mark.parametrize(
    "value, is_there",
    [
        ("RE-2014/123", True), ("re 2014 123", True), ("RE-2014/124", False), ("2014-08-03", True), ("2014-08-04", False), (1234.5, True),
        ("1234.50", True), (1023, True), (12, True), (99, False), ("2015-05-08", True), ("2015-08-05", True), ("Bétrag", True),
        ("Betrag: 1.234,50 EUR", True), ("nowhere at all", False),
    ],
)  # fmt: skip
def test_a_value_is_found_in_any_usual_form_and_one_that_is_not_there_is_not(value: object, is_there: bool) -> None:
    assert (Source(TEXT).find(value) is not None) is is_there


def test_a_long_number_is_found_though_it_is_written_in_groups() -> None:
    assert Source("NIP 774-00-01-454").find(7740001454) is not None
    assert Source("NIP 774-00-01-455").find(7740001454) is None


def test_a_value_says_on_which_page_and_where_it_stands() -> None:
    half = TEXT.index("Betrag")
    source = Source(TEXT, [Place(0, half, 1, (0.1, 0.1, 0.9, 0.2)), Place(half, len(TEXT), 2)])
    first, second = source.find("RE-2014/123"), source.find(1234.5)
    assert first is not None
    assert second is not None
    assert (first.page, first.box) == (1, (0.1, 0.1, 0.9, 0.2))
    assert (second.page, second.box) == (2, None)


@given(
    st.text(max_size=300),
    st.one_of(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), st.integers()),
)
def test_looking_for_anything_in_anything_never_fails(text: str, value: object) -> None:
    Source(text).find(value)


@given(st.decimals(min_value=0, max_value=10**9, places=2))
def test_an_amount_is_found_as_it_is_written_in_english_and_in_german(amount: Any) -> None:
    english = f"{amount:,.2f}"
    german = english.replace(",", " ").replace(".", ",").replace(" ", ".")
    for written in (english, german, f"{amount:.2f}"):
        assert Source(f"Sum: {written} EUR").find(float(amount)) is not None or len(f"{amount:.0f}") > 15


ANSWER = {
    "net": 100,
    "tax": 19,
    "total": 119.5,
    "date": "2014-13-01",
    "id": "X-1",
    "lines": [{"amount": 40}, {"amount": 60}],
    "no": None,
}


@pytest.mark.parametrize(
    "rule, broken",
    [
        (check("/total", "sum", of=["/net", "/tax"]), ["/total"]),
        (check("/total", "sum", of=["/net", "/tax"], tolerance="0.5"), []),
        (check("/net", "sum", of=["/lines/*/amount"]), []),
        (check("/date", "date"), ["/date"]),
        (check("/id", "pattern", pattern="[A-Z]-[0-9]"), []),
        (check("/id", "pattern", pattern="[A-Z]"), ["/id"]),
        (check("/lines/*/amount", "range", least="50"), ["/lines/0/amount"]),
        (check("/no", "date"), []),
        (check("/no", "date", required=True), ["/no"]),
        (check("/gone", "date"), []),
    ],
)
def test_a_field_that_breaks_its_rule_is_told_by_its_pointer(rule: Check, broken: list[str]) -> None:
    assert [one.pointer for one in violations(ANSWER, [rule])] == broken


def test_pointers_lead_through_lists_and_escaped_keys() -> None:
    value = {"a/b": {"~": [1, {"c": 2}]}}
    assert list(values_at(value, "/a~1b/~0/1/c")) == [("/a~1b/~0/1/c", 2)]
    assert list(values_at(value, "/a~1b/~0/7")) == []


def test_what_is_free_is_looked_for_and_what_is_chosen_from_a_list_is_not() -> None:
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": ["a"]}, "total": {"type": ["number", "null"]}, "lines": {"type": "array", "items": {"type": "string"}},
            "paid": {"type": "boolean"},
        },
    }  # fmt: skip
    assert sought_in(schema) == ["/total", "/lines/*"]
    answer = json.dumps({"label": "a", "total": 1023, "lines": ["Betrag", "made up"], "paid": True})
    source = f"<document>\n{TEXT}\n</document>"
    fields = located(answer, source, Held(places=[Place(0, len(TEXT), 3)], sought=sought_in(schema)))
    assert {pointer: (one["found"], one["page"], one["review"]) for pointer, one in fields.items()} == {
        "/total": (True, 3, None), "/lines/0": (True, 3, None), "/lines/1": (False, None, "not_in_source"),
    }  # fmt: skip
