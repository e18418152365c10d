"""Answers that are streamed, through the official client: whole, in order, cut, broken, and never charged twice."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import openai
import orjson
import pytest

from tests.serving import Api
from tests.stack import chat, until

ASK = [{"role": "user", "content": "Where is my order?"}]


def events(api: Api, body: dict[str, object], path: str = "/v1/chat/completions") -> list[bytes]:
    with api.http.stream("POST", path, json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return [line[6:].encode() for line in response.iter_lines() if line.startswith("data: ")]


def test_the_pieces_of_a_stream_are_the_answer_and_carry_its_route_and_price(api: Api) -> None:
    pieces = list(api.openai.chat.completions.create(model="fast", messages=ASK, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    whole = api.openai.chat.completions.create(model="fast", messages=ASK)
    assert text == whole.choices[0].message.content
    assert len(pieces) > 2
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert len({piece.id for piece in pieces}) == 1
    ours = pieces[-1].model_extra["rightsize"]
    assert (ours["tier"], ours["model"], ours["attempts"]) == ("llm", "fast", 1)
    assert Decimal(ours["cost_usd"]) == Decimal(whole.model_extra["rightsize"]["cost_usd"])


def test_usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for(api: Api) -> None:
    pieces = list(
        api.openai.chat.completions.create(
            model="fast", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert pieces[-1].choices == []
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.total_tokens == pieces[-1].usage.prompt_tokens + pieces[-1].usage.completion_tokens > 0
    assert all(piece.usage is None for piece in pieces[:-1])


def test_several_choices_are_streamed_beside_one_another(api: Api) -> None:
    texts = {0: "", 1: "", 2: ""}
    for piece in api.openai.chat.completions.create(model="fast", messages=ASK, n=3, stream=True):
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts.values())


def test_completions_are_streamed_in_their_own_form(api: Api) -> None:
    pieces = list(api.openai.completions.create(model="fast", prompt="Once", stream=True))
    whole = api.openai.completions.create(model="fast", prompt="Once")
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert pieces[-1].choices[0].finish_reason


def test_the_stream_of_the_official_helper_ends_in_the_whole_message(api: Api) -> None:
    with api.openai.chat.completions.stream(model="fast", messages=ASK) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert final.choices[0].message.content == said != ""


@pytest.mark.parametrize("kind, status", [("400", 400), ("500", 502), ("timeout", 504)])
def test_f26_what_fails_before_its_first_piece_is_an_ordinary_error(api: Api, kind: str, status: int) -> None:
    response = api.post("/v1/chat/completions", chat(f"[[fail:{kind}]]", model="fast", stream=True))
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_f28_what_breaks_in_the_middle_ends_with_an_error_and_costs_nothing(api: Api) -> None:
    before = api.stack.count("SELECT coalesce(max(id), 0) FROM jobs")
    with pytest.raises(openai.APIError, match="broke off"):
        list(
            api.openai.chat.completions.create(
                model="fast", messages=[{"role": "user", "content": "[[fail:cut]] x"}], stream=True
            )
        )
    found = api.stack.query("SELECT state, attempts, fault_code FROM jobs WHERE id > :id", id=before)
    assert [(row.state, row.attempts, row.fault_code) for row in found] == [(11, 1, "stream_broken")]
    assert api.stack.count("SELECT count(*) FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE j.id > :id AND t.kind = 'charge'", id=before) == 0  # fmt: skip


def test_f29_a_client_that_hangs_up_gets_charged_once_for_what_was_written(api: Api) -> None:
    before = api.stack.count("SELECT coalesce(max(id), 0) FROM jobs")
    body = chat("[[sleep:6]] Tell me a story.", model="fast", stream=True)
    with api.http.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and orjson.loads(line[6:])["choices"][0]["delta"].get("content"):
                break
    began = time.monotonic()
    job = until(lambda: api.stack.query("SELECT id, state FROM jobs WHERE id > :id AND state >= 10", id=before), 5)[0]
    assert time.monotonic() - began < 3
    assert job.state == 10
    kinds = [
        row.kind for row in api.stack.query("SELECT kind FROM transfers WHERE job_id = :id ORDER BY kind", id=job.id)
    ]
    assert kinds == ["charge", "cost"]
    result = orjson.loads(api.stack.query("SELECT body FROM results WHERE job_id = :id", id=job.id)[0].body)
    assert result["choices"][0]["finish_reason"] == "abort"
    assert result["choices"][0]["message"]["content"]
    assert api.stack.doctor() == []


def test_f29_a_client_that_hangs_up_before_the_first_piece_pays_nothing(api: Api) -> None:
    before = api.stack.count("SELECT coalesce(max(id), 0) FROM jobs")
    quick = openai.OpenAI(base_url=f"{api.url}/v1", api_key=api.key, max_retries=0, timeout=0.4)
    with pytest.raises(openai.APITimeoutError):
        quick.chat.completions.create(
            model="thinker", messages=[{"role": "user", "content": "[[sleep:60]]"}], stream=True
        )
    state = until(lambda: api.stack.query("SELECT state FROM jobs WHERE id > :id AND state >= 10", id=before), 6)[
        0
    ].state
    assert state == 12
    assert api.stack.doctor() == []


def test_f9_pieces_that_redis_lost_follow_from_the_record(api: Api) -> None:
    stop = threading.Event()

    def lose() -> None:
        while not stop.is_set():
            for key in api.stack.broker.redis.scan_iter("rightsize.answer.*"):
                api.stack.broker.redis.delete(key)
            time.sleep(0.01)

    thief = threading.Thread(target=lose)
    thief.start()
    try:
        text = "".join(
            orjson.loads(event)["choices"][0]["delta"].get("content") or ""
            for event in events(api, chat("[[sleep:0.5]] x", model="fast", stream=True))
            if event != b"[DONE]"
        )
    finally:
        stop.set()
        thief.join()
    whole = api.post("/v1/chat/completions", chat("[[sleep:0.01]] x", model="fast")).json()
    assert text == whole["choices"][0]["message"]["content"]


def test_the_same_key_gives_the_same_stream_once_more_and_one_charge(api: Api) -> None:
    before = api.stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'")
    texts = []
    for _ in range(2):
        with api.http.stream(
            "POST", "/v1/chat/completions", json=chat("Once", stream=True), headers={"Idempotency-Key": "stream-1"}
        ) as response:
            lines = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
        texts.append("".join(orjson.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines))
    assert texts[0] == texts[1] != ""
    assert api.stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == before + 1
