"""What failed, by cause."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.failures import MOST_CAUSES, failure_lines, failures_of
from orchestrator.delivery.remedies import REMEDIES, remedy_of, without_remedy
from tests.delivery.lines import failed, invoices, line
from tests.delivery.test_answers import ANY_LINE


def causes(*told: tuple[str, str]) -> list[Any]:
    return failures_of(failed(f"{place}.pdf", code, message) for place, (code, message) in enumerate(told)).causes()


def test_messages_that_differ_in_numbers_names_and_digests_are_one_cause() -> None:
    one, *others = causes(
        ("too_many_pages", "The document 'a.pdf' (0a1b2c3d4e5f) has 2,311 pages, at most 2,000. Split it."),
        ("too_many_pages", "The document 'b.pdf' (99887766aa55) has 9,000 pages, at most 2,000. Split it."),
    )
    assert others == []
    assert (one.count, one.message) == (2, "The document … (…) has … pages, at most 2,000.")
    assert one.remedy == "Split it."
    assert one.examples == ("0.pdf", "1.pdf")


def test_causes_come_by_frequency_with_three_examples_and_their_share() -> None:
    made = causes(*[("a", "One thing.")] * 1, *[("b", "Another thing.")] * 4)
    assert [(one.code, one.count, one.share) for one in made] == [("b", 4, 0.8), ("a", 1, 0.2)]
    assert made[0].examples == ("1.pdf", "2.pdf", "3.pdf")


def test_an_apostrophe_opens_no_quotation() -> None:
    first, second = causes(("x", "The model's answer isn't red."), ("x", "The model's engine isn't red."))
    assert (first.count, second.count) == (1, 1)


def test_answers_of_a_wrong_form_are_told_apart_by_the_first_place_that_is_wrong() -> None:
    wrong = [
        failed(f"{n}", "wrong_form", f"Not of that form: {n}", violations=[{"pointer": f"/lines/{n}/amount", "message": f"{n} is no text"}, {"pointer": f"/{n}", "message": ""}])
        for n in range(5)
    ]  # fmt: skip
    (cause,) = failures_of(wrong).causes()
    assert (cause.count, cause.message) == (5, "Not of that form: /lines/*/amount: … is no text")


@pytest.mark.parametrize(
    "message, cause, remedy",
    [
        ("The PDF is broken. Save it anew.", "The PDF is broken.", "Save it anew."),
        ("Batch 1 has 2 rows. This is a bug: report it.", "Batch 1 has 2 rows. This is a bug", "Report it."),
        ("No model is called 'x'. Known: a. Add one under [models] in rightsize.toml. Or ask.", "No model is called 'x'. Known: a.",
         "Add one under [models] in rightsize.toml. Or ask."),
        ("The server said: Read timed out.", "The server said: Read timed out.", REMEDIES["timeout"]),
        ("", "", REMEDIES["timeout"]),
        ("Save it anew.", "Save it anew.", "Save it anew."),
    ],
)  # fmt: skip
def test_the_messages_own_remedy_comes_before_what_is_known_of_its_code(message: str, cause: str, remedy: str) -> None:
    assert without_remedy(message) == cause
    assert remedy_of("timeout", message) == remedy


def test_every_failure_has_a_remedy_also_of_an_unknown_code() -> None:
    assert all(remedy.endswith((".", "`")) for remedy in REMEDIES.values())
    assert "rightsize retry" in remedy_of("what_is_this", "It broke")


def test_messages_without_end_are_counted_in_bounded_memory_and_none_is_lost() -> None:
    letters = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(3 * MOST_CAUSES)]
    failures = failures_of(
        failed(code=f"code-{word}" if place % 2 else "same", message=f"word {word}")
        for place, word in enumerate(letters)
    )
    made = failures.causes()
    assert len(made) <= 2 * MOST_CAUSES + 1
    assert sum(one.count for one in made) == 3 * MOST_CAUSES
    assert abs(sum(one.share for one in made) - 1) < 1e-9


def test_the_lines_for_a_terminal_tell_cause_documents_and_remedy() -> None:
    failures = failures_of([*invoices(200), failed("x.pdf", "password_required", "It has a password. Give it.")])
    head, *told = failure_lines(failures)
    assert head.startswith(f"{failures.failed} of 201 documents failed (")
    assert any("password_required: It has a password." in one for one in told)
    assert any(one.strip() == "fix: Give it." for one in told)
    assert failure_lines(failures_of([line()])) == ["None of 1 document failed."]


def test_a21_nothing_of_a_document_steers_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\u202eexe.fdp\u2066\x9b31m\n[bold]"
    lines = failure_lines(failures_of([failed(evil, evil, evil)]))
    assert not set("".join(lines)) & set("\x1b\x07\r\n\x9b\u202e\u2066")


@given(st.lists(ANY_LINE, max_size=5))
def test_any_line_can_be_counted(lines: list[dict[str, Any]]) -> None:
    failures = failures_of(lines)
    assert failures.documents == len(lines)
    assert sum(one.count for one in failures.causes()) == failures.failed
    "\n".join(failure_lines(failures)).encode()
