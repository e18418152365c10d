"""The simulated engine: honest about being simulated, repeatable, and able to fail in every way."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.structured import Form, differences
from tests.workers.engines.build import chat, completion, embeddings, engine
from workers import forms
from workers.engines._simulated.answer import fate_of
from workers.engines._simulated.broken import TO_MEND, WAYS, Fate, as_fated
from workers.engines._simulated.options import KINDS, Options
from workers.engines.base import EngineRequest

LABELS = "billing, card, refund"


def perform(*requests: EngineRequest, **simulate: Any) -> list[Answer]:
    async def main() -> list[Answer]:
        made = engine("simulated", simulate=simulate)
        await made.load()
        return [await made.perform(request) for request in requests]

    return asyncio.run(main())


def fault_of(request: EngineRequest, **simulate: Any) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        perform(request, **simulate)
    return caught.value


def said(answer: Answer) -> str:
    return str(answer.body["choices"][0]["message"]["content"])


def test_every_answer_says_that_it_is_simulated() -> None:
    for answer in perform(chat(), completion(), embeddings("a")):
        assert answer.simulated
        assert answer.model_revision == "simulated"


def test_labels_are_right_as_often_as_the_accuracy_says() -> None:
    metadata = {"expected": "card", "labels": LABELS}
    requests = [chat(job=f"job_{n}", metadata=metadata) for n in range(2000)]
    answers = [said(answer) for answer in perform(*requests, accuracy=0.9)]
    assert 0.87 < answers.count("card") / len(answers) < 0.93
    assert set(answers) == {"billing", "card", "refund"}
    assert answers == [said(answer) for answer in perform(*requests, accuracy=0.9)]
    assert answers != [said(answer) for answer in perform(*requests, accuracy=0.9, seed=1)]


@pytest.mark.parametrize("accuracy,right", [(1.0, True), (0.0, False)])
def test_the_bounds_of_accuracy_are_exact(accuracy: float, right: bool) -> None:
    metadata = {"expected": "card", "labels": "card"}
    answers = perform(*(chat(job=f"job_{n}", metadata=metadata) for n in range(50)), accuracy=accuracy)
    assert all((said(answer) == "card") is right for answer in answers)


def test_tokens_follow_the_options_and_the_limit_of_the_request() -> None:
    simulate = {"output_tokens": [30, 40], "reasoning_tokens": [200, 300]}
    free, bound = perform(chat("x" * 80), chat("x" * 80, max_tokens=100, n=2), **simulate)
    assert free.usage.input_tokens == 20
    assert 200 <= free.usage.reasoning_tokens <= 300
    assert 30 <= free.usage.output_tokens - free.usage.reasoning_tokens <= 40
    assert free.body["usage"]["completion_tokens_details"]["reasoning_tokens"] == free.usage.reasoning_tokens
    assert (bound.usage.output_tokens, bound.usage.reasoning_tokens) == (200, 200)
    assert [choice["finish_reason"] for choice in bound.body["choices"]] == ["length", "length"]


def test_images_are_counted_from_the_content() -> None:
    parts = [
        {"type": "text", "text": "what is this"},
        *({"type": "image_url", "image_url": {"url": "x"}} for _ in "ab"),
    ]
    request = chat()
    request.body["messages"] = [{"role": "user", "content": parts}]
    usage = perform(request)[0].usage
    assert usage.images == 2
    assert usage.input_tokens == 3 + 2 * 765


def test_a_wanted_format_is_kept() -> None:
    schema = {"type": "object", "properties": {"label": {"enum": ["card", "refund"]}, "sure": {"type": "boolean"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    metadata = {"expected": "refund"}
    answers = perform(
        chat(metadata=metadata, response_format=wanted),
        chat(metadata=metadata, response_format={"type": "json_object"}),
    )
    assert json.loads(said(answers[0])) == {"label": "refund", "sure": False}
    assert json.loads(said(answers[1])) == {"answer": "refund"}


def test_embeddings_are_the_same_for_the_same_text() -> None:
    one, two = perform(embeddings("a", "b"), embeddings("a", "b", dimensions=3))
    assert len(one.body["data"]) == 2
    assert [len(row["embedding"]) for row in two.body["data"]] == [3, 3]
    assert one.body["data"][0]["embedding"][:3] == two.body["data"][0]["embedding"]


def test_speed_makes_simulated_time_pass_faster() -> None:
    began = time.monotonic()
    answer = perform(chat(), latency_s=[100, 100], speed=1000)[0]
    assert answer.body["rightsize_simulated"] == {"latency_s": 100.0, "speed": 1000.0}
    assert 0.09 < time.monotonic() - began < 15
    perform(chat(), latency_s=[100, 100], speed="max")


def test_nothing_waits_and_nothing_yields_where_no_time_is_simulated() -> None:
    made = engine("simulated", simulate={"latency_s": [5, 9], "speed": "max"})
    step = made.perform(chat())
    with pytest.raises(StopIteration) as ended:  # the coroutine ends at its first step: no turn of a loop is spent
        step.send(None)
    assert ended.value.value.simulated


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("hang", "usage_missing")])
@pytest.mark.parametrize("how", ["option", "marker"])
def test_f26_f28_it_fails_in_every_way_that_a_model_can(kind: str, how: str) -> None:
    simulate: dict[str, Any] = {"fail": [{"kind": kind}]} if how == "option" else {"obey_markers": True}
    fault = fault_of(chat(f"hello [[fail:{kind}]]"), retry_after_s=3, **simulate)
    assert fault.retryable is (kind != "400")
    assert fault.retry_after_s == (3 if kind == "429" else None)


def test_f27_it_can_hang_until_the_deadline() -> None:
    fault = fault_of(chat(seconds_left=0.05), fail={"kind": "hang"})
    assert (fault.fault_code, fault.retryable) == ("deadline", True)


def test_f28_a_cut_stream_ends_in_the_middle() -> None:
    async def main() -> str:
        made = engine("simulated", simulate={"fail": {"kind": "cut"}})
        text = ""
        with pytest.raises(EngineFault) as caught:
            async for chunk in made.stream(chat()):
                text += chunk.delta
        assert caught.value.fault_code == "cut_stream"
        return text

    text = asyncio.run(main())
    assert 0 < len(text) < len(said(perform(chat())[0]))


def test_the_first_attempts_of_a_job_can_fail() -> None:
    async def main() -> list[str]:
        made = engine("simulated", simulate={"fail": {"kind": "500", "first": 2}})
        seen = []
        for job in ("a", "b", "a", "a", "b", "b"):
            try:
                await made.perform(chat(job=job))
                seen.append(f"{job} ok")
            except EngineFault:
                seen.append(f"{job} failed")
        return seen

    assert asyncio.run(main()) == ["a failed", "b failed", "a failed", "a ok", "b failed", "b ok"]


def test_a_rate_fails_its_share_and_another_attempt_may_succeed() -> None:
    async def main() -> tuple[int, int]:
        made = engine("simulated", simulate={"fail": {"kind": "502", "rate": 0.3}})
        failed = again = 0
        for n in range(1000):
            try:
                await made.perform(chat(job=f"job_{n}"))
            except EngineFault:
                failed += 1
                try:
                    await made.perform(chat(job=f"job_{n}"))
                except EngineFault:
                    again += 1
        return failed, again

    failed, again = asyncio.run(main())
    assert 250 < failed < 350
    assert 50 < again < 130


def test_markers_are_plain_text_unless_they_are_to_be_obeyed() -> None:
    assert perform(chat("[[die]] [[fail:500]] [[sleep:99]]"))[0].simulated


def test_a_marker_can_take_real_time() -> None:
    began = time.monotonic()
    perform(chat("[[sleep:0.1]]"), obey_markers=True)
    assert 0.09 < time.monotonic() - began < 15


def test_f24_a_marker_kills_the_process() -> None:
    code = (
        "import asyncio; from tests.workers.engines.build import chat, engine;"
        "asyncio.run(engine('simulated', simulate={'obey_markers': True}).perform(chat('x [[die]]')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "simulate,key",
    [
        ({"latency": [1, 2]}, "latency"),
        ({"latency_s": [2, 1]}, "latency_s"),
        ({"latency_s": "fast"}, "latency_s"),
        ({"latency_s": [0, float("nan")]}, "latency_s"),
        ({"accuracy": 1.5}, "accuracy"),
        ({"accuracy": True}, "accuracy"),
        ({"output_tokens": [1.5, 2]}, "output_tokens"),
        ({"speed": 0}, "speed"),
        ({"speed": "warp"}, "speed"),
        ({"fail": {"kind": "gremlins"}}, "gremlins"),
        ({"fail": [{"kind": "500", "often": 1}]}, "often"),
        ({"fail": "500"}, "fail"),
        ({"obey_markers": "yes"}, "obey_markers"),
        ({"breaks": 2}, "breaks"),
        ({"mends": -0.1}, "mends"),
    ],
)
def test_options_that_make_no_sense_stop_the_start(simulate: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidConfig, match=r"models\.under-test\.simulate") as caught:
        engine("simulated", simulate=simulate)
    assert key in caught.value.message


BILL = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["card", "refund"]},
        "total": {"type": "number", "minimum": 0},
        "paid": {"type": "boolean"},
        "who": {"type": "string"},
    },
    "required": ["kind", "total"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "bill", "schema": BILL}}


def is_right(text: str) -> bool:
    return not differences(text, Form("schema", json.dumps(BILL)))


def asked_to_mend(request: EngineRequest) -> EngineRequest:
    more = [{"role": "assistant", "content": "{}"}, {"role": "user", "content": f"{TO_MEND}:\n- kind is missing"}]
    return request.with_body({**request.body, "messages": [*request.body["messages"], *more]})


def test_a_share_of_the_answers_has_not_the_form_asked_for_always_the_same_ones() -> None:
    requests = [chat(job=f"job_{n}", response_format=FORM) for n in range(1000)]
    texts = [said(answer) for answer in perform(*requests, breaks=0.2)]
    broken = [text for text in texts if not is_right(text)]
    assert 150 < len(broken) < 250
    assert texts == [said(answer) for answer in perform(*requests, breaks=0.2)]
    assert texts != [said(answer) for answer in perform(*requests, breaks=0.2, seed=1)]
    assert all(is_right(said(answer)) for answer in perform(*requests, breaks=0.0))


@pytest.mark.parametrize("way", WAYS)
def test_each_of_ten_ways_to_break_an_answer_breaks_it(way: str) -> None:
    assert len(WAYS) == 10
    fate = Fate(is_broken=True, way=list(WAYS).index(way), is_mended=True)
    right = said(perform(chat(response_format=FORM))[0])
    text = as_fated(right, {"response_format": FORM}, fate)
    assert text == WAYS[way](right, BILL)
    assert not is_right(text)


def test_a_way_that_does_not_apply_to_a_form_gives_its_place_to_another() -> None:
    requests = [chat(job=f"job_{n}", response_format={"type": "json_object"}) for n in range(100)]
    form = Form("object", "")
    assert all(differences(said(answer), form) for answer in perform(*requests, breaks=1.0))


def test_free_text_has_no_form_that_could_break() -> None:
    for body in ({}, {"structured_outputs": {"json": BILL}}, {"structured_outputs": {"choice": ["a", "b"]}}):
        assert said(perform(chat(**body), breaks=1.0)[0]) == said(perform(chat(**body))[0])


def test_an_answer_is_mended_as_often_as_the_options_say() -> None:
    requests = [asked_to_mend(chat(job=f"job_{n}", response_format=FORM)) for n in range(1000)]
    mended = [is_right(said(answer)) for answer in perform(*requests, breaks=1.0, mends=0.9)]
    assert 0.87 < sum(mended) / len(mended) < 0.93
    assert mended == [fate_of(one.job_id, Options(breaks=1.0, mends=0.9)).is_mended for one in requests]
    assert all(is_right(said(answer)) for answer in perform(*requests, breaks=1.0))


def test_a_broken_answer_is_mended_by_the_request_that_a_worker_sends() -> None:
    async def main(**simulate: Any) -> Answer:
        made = engine("simulated", simulate={"breaks": 1.0, **simulate})
        await made.load()
        return await forms.perform(made, chat(response_format=FORM))

    assert is_right(said(asyncio.run(main())))
    with pytest.raises(forms.WrongForm):
        asyncio.run(main(mends=0.0))
