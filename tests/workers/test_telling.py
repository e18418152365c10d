"""An answer told piece by piece: what its caller sees of it, what comes as one piece, and what a cut or a fault leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from orchestrator.contracts import Answer, Outcome, OutcomeKind, Usage
from orchestrator.errors import EngineFault
from tests.workers.claimed import claimed
from tests.workers.scripted import Scripted, Speaking
from workers.engines.assembly import Assembly, as_pieces
from workers.engines.base import Chunk, Engine
from workers.execute import broken_off, run

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FORM = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    }
}  # fmt: skip


class Kept:
    """Pieces that arrive as soon as they are added, and stay here."""

    def __init__(self) -> None:
        self.rows: list[Sequence[dict[str, Any]]] = []
        self.usages: list[Usage | None] = []
        self.cut = False

    @property
    def said(self) -> bool:
        return bool(self.rows)

    def add(self, choices: Sequence[dict[str, Any]], usage: Usage | None) -> None:
        if choices:
            self.rows.append(choices)
            self.usages.append(usage)

    async def settled(self) -> None: ...


def chunk(text: str = "", *, used: int | None = None, finish: str | None = None, index: int = 0, **delta: Any) -> Chunk:
    said = {**({"content": text} if text else {}), **delta}
    usage = None if used is None else Usage(10, 2, used)
    return Chunk([{"index": index, "delta": said, "finish_reason": finish}], usage, None, "scripted@1")


def last(*messages: dict[str, Any], used: int = 5, finish: str = "stop") -> Chunk:
    choices = [
        {"index": place, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
        for place, message in enumerate(messages)
    ]
    usage = Usage(10, 2, used)
    return Chunk(
        [], usage, Answer({"object": "chat.completion", "choices": choices}, usage, "scripted@1"), "scripted@1"
    )


def told(engine: Engine, body: dict[str, Any] | None = None, **job: Any) -> tuple[Outcome, Kept]:
    pieces: Any = Kept()
    outcome = asyncio.run(asyncio.wait_for(run(claimed(body, **job), engine, pieces=pieces), 20))
    return outcome, pieces


def message(outcome: Outcome) -> dict[str, Any]:
    assert outcome.body is not None, outcome
    found: dict[str, Any] = orjson.loads(outcome.body)["choices"][0]["message"]
    return found


def whole(pieces: Kept, endpoint: str = CHAT) -> list[dict[str, Any]]:
    assembly = Assembly(endpoint)
    for rows in pieces.rows:
        assembly.add(rows)
    return assembly.whole()


def test_the_pieces_are_the_answer_and_the_engine_sees_nothing_of_the_stream_field() -> None:
    engine = Speaking(
        [chunk(role="assistant", content=""), chunk("It ", used=1), chunk("is.", used=2), chunk(finish="stop"), last({"content": "It is."})]
    )  # fmt: skip
    outcome, pieces = told(engine, {"stream_options": {"include_usage": True}})
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert outcome.usage == Usage(10, 2, 5)
    assert engine.asked[0].keys() == {"model", "messages"}
    assert pieces.rows[0] == [{"index": 0, "delta": {"role": "assistant", "content": "It "}, "finish_reason": None}]
    assert pieces.usages[:2] == [Usage(10, 2, 1), Usage(10, 2, 2)]
    assert whole(pieces)[0]["message"]["content"] == message(outcome)["content"] == "It is."
    assert whole(pieces)[0]["finish_reason"] == "stop"


def test_what_comes_before_the_first_word_comes_with_it_and_an_answer_without_words_comes_at_its_end() -> None:
    token = {"index": 0, "delta": {}, "logprobs": {"content": [{"token": "half a sign"}]}, "finish_reason": None}
    engine = Speaking([Chunk([token]), chunk("Ä"), chunk(finish="stop"), last({"content": "Ä"})])
    _, pieces = told(engine)
    assert pieces.rows[0][0]["delta"] == {"role": "assistant"}
    assert whole(pieces)[0]["logprobs"] == {"content": [{"token": "half a sign"}]}
    outcome, pieces = told(Speaking([chunk(finish="stop"), last({"content": ""})]))
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert [row for rows in pieces.rows for row in rows] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    ]


def test_each_choice_says_once_whose_it_is() -> None:
    engine = Speaking([chunk("a"), chunk("b", index=1), chunk("c"), last({"content": "ac"}, {"content": "b"})])
    _, pieces = told(engine, {"n": 2})
    assert [row["delta"] for rows in pieces.rows for row in rows] == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"content": "c"},
    ]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_thought_is_told_only_to_those_who_ask_for_it(name: str, wanted: bool) -> None:
    secret = [{"token": "hush"}]
    thought = Chunk([{"index": 0, "delta": {name: "Hm."}, "logprobs": {"content": secret}, "finish_reason": None}])
    engine = Speaking([thought, chunk("Yes."), last({"content": "Yes.", name: "Hm."})])
    outcome, pieces = told(engine, {"rightsize": {"reasoning": wanted}})
    found = whole(pieces)[0]
    assert found["message"].get("reasoning") == message(outcome).get("reasoning") == ("Hm." if wanted else None)
    assert ("logprobs" in found) == wanted
    assert found["message"]["content"] == "Yes."
    assert "reasoning_content" not in found["message"]


def test_a_model_that_only_thought_has_told_nothing_and_fails_as_it_does_otherwise() -> None:
    engine = Speaking([chunk(reasoning="Hm."), last({"reasoning": "Hm."}, finish="length")])
    outcome, pieces = told(engine)
    assert (outcome.kind, outcome.fault and outcome.fault.code) == (OutcomeKind.FAILED, "no_answer")
    assert not pieces.said


def test_calls_of_functions_are_told_as_they_come() -> None:
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": "{}"}}
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    engine = Speaking(
        [chunk(tool_calls=[begun]), chunk(tool_calls=[more], finish="tool_calls"), last({"tool_calls": [call]})]
    )
    outcome, pieces = told(engine)
    assert len(pieces.rows) == 2
    assert whole(pieces)[0]["message"]["tool_calls"] == message(outcome)["tool_calls"] == [call]


def test_a_completion_is_told_in_its_own_form() -> None:
    rows = [{"index": 0, "text": "for", "finish_reason": None}, {"index": 0, "text": "ty", "finish_reason": "stop"}]
    usage = Usage(1, 0, 2)
    body = {"object": "text_completion", "choices": [{"index": 0, "text": "forty", "finish_reason": "stop"}]}
    engine = Speaking([Chunk([rows[0]]), Chunk([rows[1]]), Chunk([], usage, Answer(body, usage, "scripted@1"))])
    outcome, pieces = told(engine, {"prompt": "Six"}, endpoint=COMPLETIONS)
    assert whole(pieces, COMPLETIONS) == [{"index": 0, "text": "forty", "finish_reason": "stop"}]
    assert outcome.body is not None
    assert orjson.loads(outcome.body)["choices"][0]["text"] == "forty"


def test_an_answer_that_is_voted_on_comes_as_one_piece() -> None:
    outcome, pieces = told(Scripted(["left", "right", "left"]), {"rightsize": {"samples": 3}})
    assert len(pieces.rows) == 1
    assert whole(pieces)[0]["message"]["content"] == message(outcome)["content"] == "left"
    assert pieces.usages == [outcome.usage]


def test_an_answer_that_may_have_to_be_mended_comes_as_one_piece_once_it_is_right() -> None:
    outcome, pieces = told(Scripted(["three", '{"n": 3}']), FORM)
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert len(pieces.rows) == 1
    assert whole(pieces)[0]["message"]["content"] == '{"n": 3}'
    wrong, nothing = told(Scripted(["three", "four"]), FORM)
    assert wrong.kind is OutcomeKind.FAILED
    assert not nothing.said


def test_an_engine_that_holds_answers_to_their_form_tells_them_as_they_come_and_is_checked_all_the_same() -> None:
    good = Speaking([chunk('{"n"'), chunk(": 3}", finish="stop"), last({"content": '{"n": 3}'})], structured=True)
    outcome, pieces = told(good, FORM)
    assert (outcome.kind, len(pieces.rows)) == (OutcomeKind.SUCCEEDED, 2)
    bad = Speaking([chunk('{"m": 3}'), last({"content": '{"m": 3}'})], structured=True)
    outcome, _ = told(bad, FORM)
    assert (outcome.kind, outcome.fault and outcome.fault.code) == (OutcomeKind.FAILED, "wrong_form")
    assert outcome.usage.output_tokens == 5


def test_an_answer_of_a_form_that_max_tokens_cut_off_says_so_and_is_paid() -> None:
    engine = Speaking([chunk('{"n"', finish="length"), last({"content": '{"n"'}, finish="length")], structured=True)
    outcome, pieces = told(engine, FORM)
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert whole(pieces)[0]["finish_reason"] == "length"


def test_a_fault_before_the_first_piece_may_be_tried_again_and_one_after_it_may_not() -> None:
    fault = EngineFault("The server broke off.", code="cut_stream", retryable=True)
    for wordless in (chunk(role="assistant", content=""), chunk(finish="length"), chunk(reasoning="Hidden.")):
        before, none = told(Speaking([wordless, fault]))
        assert (before.kind, none.said) == (OutcomeKind.RETRY, False)
    outcome, pieces = told(Speaking([chunk("It "), fault]))
    assert pieces.said
    after = broken_off(outcome)
    assert after.fault is not None
    assert (after.kind, after.fault.code, after.fault.http_status) == (OutcomeKind.FAILED, "stream_broken", 502)
    assert "cut_stream" in after.fault.message
    assert "The server broke off." in after.fault.message


def test_the_deadline_ends_a_stream_and_the_engine_is_let_go() -> None:
    engine = Speaking([chunk("It "), None])
    outcome, pieces = told(engine, seconds_left=0.1)
    assert outcome.kind is OutcomeKind.EXPIRED
    assert (engine.ended, pieces.said) == (1, True)


def cut(chunks: list[Chunk | None], body: dict[str, Any] | None = None, **job: Any) -> tuple[Outcome, Kept, Speaking]:
    """The outcome of a job whose caller hangs up once its engine says nothing more for the moment."""
    engine, pieces = Speaking(chunks), Kept()
    given: Any = pieces

    async def main() -> Outcome:
        task = asyncio.create_task(run(claimed(body, **job), engine, pieces=given))
        while len(pieces.rows) < len(chunks) - 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
        pieces.cut = True
        await engine.abort("job")
        return await task

    return asyncio.run(asyncio.wait_for(main(), 20)), pieces, engine


def test_a_cut_answer_is_what_was_said_and_costs_what_was_consumed() -> None:
    outcome, pieces, engine = cut([chunk("It ", used=3), chunk("is", used=4), None])
    assert engine.ended == 1
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert outcome.usage == Usage(10, 2, 4)
    assert (outcome.model_revision, outcome.simulated) == ("scripted@1", False)
    assert outcome.body is not None
    body = orjson.loads(outcome.body)
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "It is"}, "finish_reason": "abort"}
    ]
    assert body["rightsize_cut"] == {"estimated_usage": False}
    assert body["usage"]["completion_tokens"] == 4
    assert body["model"] == "house"
    assert whole(pieces)[0]["message"]["content"] == "It is"


def test_a_cut_answer_whose_engine_counts_only_at_its_end_is_estimated_and_says_so() -> None:
    outcome, _, _ = cut([chunk("four by four and", used=None), chunk(" more text.", reasoning="Thoughts."), None])
    assert outcome.body is not None
    body = orjson.loads(outcome.body)
    assert body["rightsize_cut"] == {"estimated_usage": True}
    assert outcome.usage.input_tokens == 2, "five characters"
    assert outcome.usage.output_tokens == 7 + 3, "the thought was consumed as well"
    assert "reasoning" not in body["choices"][0]["message"]


def test_a_cut_answer_keeps_its_calls_its_thought_and_what_had_ended() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a'}}
    outcome, _, _ = cut(
        [chunk(reasoning="Hm.", used=1), chunk(tool_calls=[call], used=2), chunk("Done.", index=1, finish="stop", used=3), None],
        {"n": 2, "rightsize": {"reasoning": True}},
    )  # fmt: skip
    assert outcome.body is not None
    first, second = orjson.loads(outcome.body)["choices"]
    assert first["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a'}
    assert (first["message"]["reasoning"], first["finish_reason"]) == ("Hm.", "abort")
    assert (second["message"]["content"], second["finish_reason"]) == ("Done.", "stop")


def test_a_cut_of_which_only_a_thought_was_told_is_an_answer_without_words() -> None:
    outcome, _, _ = cut([chunk(reasoning="Hm.", used=1), None], {"rightsize": {"reasoning": True}})
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert message(outcome) == {"role": "assistant", "content": "", "reasoning": "Hm."}


def test_an_abort_that_is_no_cut_stays_a_fault() -> None:
    engine, pieces = Speaking([chunk("It "), None]), Kept()
    given: Any = pieces

    async def main() -> Outcome:
        task = asyncio.create_task(run(claimed(), engine, pieces=given))
        while not pieces.said:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await engine.abort("job")
        return await task

    outcome = asyncio.run(asyncio.wait_for(main(), 20))
    assert (outcome.kind, outcome.fault and outcome.fault.code) == (OutcomeKind.FAILED, "aborted")


def test_a_whole_answer_and_its_one_piece_are_the_same() -> None:
    body = {
        "choices": [
            {
                "index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [{"token": "a"}]},
                "message": {"role": "assistant", "content": None, "reasoning": "Hm.", "refusal": "No.", "tool_calls": [
                    {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "call_1", "type": "function", "function": {"name": "g", "arguments": "[]"}},
                ]},
            },
            {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "b"}},
        ]
    }  # fmt: skip
    assembly = Assembly(CHAT)
    assembly.add(as_pieces(body))
    assert assembly.whole() == body["choices"]
    again = Assembly(CHAT)
    again.add(assembly.joined())
    assert again.whole() == body["choices"]
