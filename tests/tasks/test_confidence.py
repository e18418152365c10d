"""How sure the values of an answer are: where they stand in its text, and the probabilities of their tokens."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from orchestrator.tasks.confidence import confidences, spans
from orchestrator.tasks.definition import Review, Task
from orchestrator.tasks.document import document_from
from orchestrator.tasks.prompt import body_for
from orchestrator.tasks.sources import Place
from orchestrator.tasks.verdict import Held, told


def tokens(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    """Tokens with their probabilities, as an engine tells them."""
    return [{"token": text, "logprob": math.log(probability), "bytes": None} for text, probability in pairs]


def test_every_value_is_found_in_its_place_also_where_keys_and_other_values_look_alike() -> None:
    answer = '{"a": "a", "b": {"a": 1, "c": [12, 1, "1"]}, "n": null, "yes": true, "last": "a"}'
    found = {pointer: answer[start:end] for pointer, (start, end) in spans(answer).items()}
    assert found == {
        "/a": '"a"', "/b/a": "1", "/b/c/0": "12", "/b/c/1": "1", "/b/c/2": '"1"', "/n": "null", "/yes": "true", "/last": '"a"',
    }  # fmt: skip
    assert spans(answer)["/a"][0] == answer.index('"a", ')
    assert spans(answer)["/last"][1] == len(answer) - 1


@pytest.mark.parametrize("text", ["Zürich", "a\nb", 'a "quoted" one', "😀", ""])
@pytest.mark.parametrize("plain", [True, False])
def test_text_is_found_however_it_is_escaped(text: str, plain: bool) -> None:
    answer = json.dumps({"x": text, "y": 2}, ensure_ascii=plain)
    assert set(spans(answer)) == {"/x", "/y"}


def test_what_follows_a_value_that_is_not_found_is_not_guessed() -> None:
    assert set(spans('{"a": 1, "b": 1e3, "c": 2}')) == {"/a"}


def test_a_confidence_is_the_geometric_mean_of_the_tokens_of_the_value_alone() -> None:
    said = tokens(
        ('{"', 0.01),
        ("total", 0.01),
        ('": ', 0.01),
        ("12", 0.9),
        (".5", 0.4),
        (', "x": ', 0.01),
        ('"b', 0.5),
        ('"}', 0.5),
    )
    answer = '{"total": 12.5, "x": "b"}'
    found = confidences(answer, said)
    assert found["/total"] == pytest.approx(math.sqrt(0.9 * 0.4), abs=1e-4)
    assert found["/x"] == pytest.approx(0.5, abs=1e-4)


def test_tokens_that_are_not_those_of_the_answer_say_nothing() -> None:
    assert confidences('{"a": 1}', tokens(('{"a": 2}', 0.5))) == {}
    assert confidences("no JSON", tokens(("no JSON", 0.5))) == {}
    wrong = [{"token": '{"a": 1}', "logprob": "high"}]
    assert confidences('{"a": 1}', wrong) == {"/a": 1.0}


DOCUMENT = {
    "name": "a.pdf", "hash": "0" * 64, "kind": "pdf", "bytes": 10,
    "pages": [{"number": 1, "source": "ocr", "confidence": 0.85, "why": "sure", "chars": 9}, {"number": 2, "source": "text"}],
    "blocks": [[1, "Total 12.5", "paragraph", 0, None], [2, "Zug", "paragraph", 0, None]],
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "place": {"type": "string"}, "paid": {"type": "boolean"}},
}
TASK = Task(name="bills", instructions="Read.", output_schema=SCHEMA, review=Review(min_confidence=0.8))
TEXT = "<document>\nTotal 12.5\n\nZug\n</document>"
PLACES = [Place(0, 10, 1), Place(12, 15, 2)]


def test_a_value_is_as_sure_as_its_page_was_read_and_as_its_model_was() -> None:
    held = Held.of(TASK, document_from(DOCUMENT), PLACES)
    again = Held.from_json(json.loads(json.dumps(held.to_json())))
    answer = '{"total": 12.5, "place": "Zug", "paid": true}'
    plain = told(answer, TEXT, again)
    assert (plain["/total"]["confidence"], plain["/total"]["review"]) == (0.85, None)
    assert (plain["/place"]["confidence"], "/paid" in plain) == (None, False)
    said = tokens(
        ('{"total": ', 1), ("12.5", 0.9), (', "place": ', 1), ('"Zug"', 0.5), (', "paid": ', 1), ("true", 0.7), ("}", 1)
    )
    sure = told(answer, TEXT, again, said)
    assert (sure["/total"]["confidence"], sure["/total"]["review"]) == (0.85, None)
    assert (sure["/place"]["confidence"], sure["/place"]["review"]) == (0.5, "low_confidence")
    assert (sure["/paid"]["confidence"], sure["/paid"]["found"], sure["/paid"]["review"]) == (
        0.7,
        None,
        "low_confidence",
    )


def test_a_value_found_nowhere_is_that_first_of_all() -> None:
    held = Held.of(TASK, document_from(DOCUMENT), PLACES)
    said = tokens(('{"place": ', 1), ('"Bern"', 0.3), ("}", 1))
    one = told('{"place": "Bern"}', TEXT, held, said)["/place"]
    assert (one["found"], one["confidence"], one["review"]) == (False, 0.3, "not_in_source")


def test_probabilities_are_asked_for_only_where_a_task_goes_by_them() -> None:
    assert body_for(TASK, "x")["logprobs"] is True
    assert "logprobs" not in body_for(TASK.model_copy(update={"review": Review()}), "x")
    free = TASK.model_copy(update={"output_schema": None})
    assert "logprobs" not in body_for(free, "x")
