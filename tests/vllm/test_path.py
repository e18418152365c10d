"""The whole path with the real engine: submit, dispatch, run, record; and what a kill, a cancel and a death of the engine leave."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.flow import cancel
from tests.conftest import Servers
from tests.stack import OWNER, Stack, chat, row, until
from tests.vllm.conftest import WARM_WITHIN_S, stack_of, start_worker
from tests.vllm.fleet import fleet_toml

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Köln", "東京", "São Paulo"]}, "open": {"type": "boolean"}},
    "required": ["city", "open"],
    "additionalProperties": False,
}


def writing(number: int, tokens: int, **more: Any) -> dict[str, Any]:
    body = chat(f"Question {number}", max_tokens=tokens, min_tokens=tokens, reasoning_effort="none", **more)
    return row(f"row-{number}", body)


def test_a_batch_is_answered_recorded_and_priced_to_the_token(cell: Stack) -> None:
    batch = cell.submit([writing(number, 5 + number % 7) for number in range(60)])
    assert cell.wait(batch, 60).status == "completed"
    cell.must_hold(batch, 60)
    rows = cell.query(
        "SELECT j.custom_id, a.output_tokens, a.input_tokens, a.cached_tokens, a.reasoning_tokens, a.model_revision, a.simulated "
        "FROM jobs j JOIN attempts a ON a.job_id = j.id WHERE j.batch_id = :batch",
        batch=batch,
    )
    assert len(rows) == 60
    for one in rows:
        assert one.output_tokens == 5 + int(one.custom_id.removeprefix("row-")) % 7
        assert one.reasoning_tokens == 0
        assert "vllm-" in one.model_revision
        assert not one.simulated


def test_reasoning_is_charged_apart_and_returned_only_to_those_who_ask(cell: Stack) -> None:
    asks = [
        row(
            str(shown), chat("Why?", max_tokens=6, min_tokens=6, reasoning_effort="low", rightsize={"reasoning": shown})
        )
        for shown in (True, False)
    ]
    batch = cell.submit(asks)
    assert cell.wait(batch, 60).status == "completed"
    found = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"] for line in cell.lines(batch)}
    assert found["True"]["reasoning"]
    assert "reasoning" not in found["False"]
    assert found["False"]["content"]
    for thought, charge, read, cached in cell.query(
        "SELECT a.reasoning_tokens, t.amount_usd, a.input_tokens, a.cached_tokens FROM attempts a "
        "JOIN jobs j ON j.id = a.job_id JOIN transfers t ON t.job_id = j.id AND t.kind = 'charge' WHERE j.batch_id = :batch",
        batch=batch,
    ):
        assert thought == 24
        expected = (read - cached) * 1 + cached * 0.1 + 6 * 2 + 24 * 3
        assert float(charge) * 1e6 == pytest.approx(expected)


def test_answers_with_a_schema_are_valid_or_failures_that_say_why(cell: Stack) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    asks = [
        row(f"row-{n}", chat(f"Where {n}?", max_tokens=64, reasoning_effort="none", response_format=form))
        for n in range(20)
    ]
    asks.append(row("cut", chat("Where?", max_tokens=2, reasoning_effort="none", response_format=form)))
    batch = cell.submit(asks)
    assert cell.wait(batch, 60).status == "completed"
    lines = {line["custom_id"]: line for line in cell.lines(batch)}
    assert "max_tokens" in str(lines.pop("cut"))
    for line in lines.values():
        answer = json.loads(line["response"]["body"]["choices"][0]["message"]["content"])
        assert answer["city"] in SCHEMA["properties"]["city"]["enum"]  # type: ignore[index]


def test_several_samples_vote_and_all_are_charged(cell: Stack) -> None:
    choice = {"structured_outputs": {"choice": ["left", "right"]}}
    body = chat("Left or right?", reasoning_effort="none", rightsize={"samples": 5}, **choice)
    batch = cell.submit([row("one", body)])
    assert cell.wait(batch, 60).status == "completed"
    (line,) = cell.lines(batch)
    vote = line["response"]["body"]["rightsize_vote"]
    assert (vote["samples"], vote["answered"]) == (5, 5)
    assert 3 <= vote["agreeing"] <= 5
    single = cell.count("SELECT input_tokens FROM attempts ORDER BY created_at DESC LIMIT 1")
    assert single % 5 == 0, "five times the prompt"


def test_an_interactive_request_is_answered_while_bulk_work_fills_the_engine(cell: Stack) -> None:
    batch = cell.submit([writing(number, 400) for number in range(200)])
    until(
        lambda: (
            cell.count("SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.batch_id = :b", b=batch)
            > 5
        )
    )
    began = time.monotonic()
    job = cell.submit_now(chat("Quick?", max_tokens=2, reasoning_effort="none"))
    cell.wait_job(job.public_id)
    took = time.monotonic() - began
    assert cell.batch(batch).status == "in_progress", "the batch was still under way"
    assert took < 5
    cell.wait(batch, 120)
    cell.must_hold(batch, 200)


def test_cancelling_a_batch_leaves_the_engine_idle(cell: Stack) -> None:
    batch = cell.submit([writing(number, 4000) for number in range(300)])
    until(lambda: cell.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL"))
    cancel.cancel_batch(cell.context, OWNER, cell.batch(batch).public_id)
    assert cell.wait(batch, 20).status == "cancelled"
    job = cell.submit_now(chat("Still there?", max_tokens=2, reasoning_effort="none"))
    assert cell.wait_job(job.public_id, 10).state == 10
    cell.must_hold(batch, 300)


@pytest.fixture
def own(servers: Servers, weights: Path, tmp_path: Path) -> Any:
    with stack_of(servers, tmp_path, fleet_toml(weights)) as stack:
        stack.orchestrator()
        yield stack


def test_f3_a_worker_killed_in_the_middle_reruns_only_what_was_in_flight(own: Stack) -> None:
    worker = start_worker(own)
    batch = own.submit([writing(number, 60) for number in range(300)])
    until(lambda: own.count("SELECT count(*) FROM attempts") > 60, 60)
    children = psutil.Process(worker.pid).children(recursive=True)
    own.kill(worker)
    done = own.count("SELECT count(*) FROM attempts")
    _gone, alive = psutil.wait_procs(children, 15)
    assert not alive, "the engine's process ends with its worker, and leaves its memory"
    start_worker(own)
    assert own.wait(batch, 120).status == "completed"
    own.must_hold(batch, 300)
    assert own.count("SELECT count(*) FROM attempts WHERE outcome = 'succeeded'") == 300
    assert done >= 60


def test_f24_a_dead_engine_is_left_its_jobs_go_back_and_the_worker_says_so(own: Stack) -> None:
    worker = start_worker(own)
    batch = own.submit([writing(number, 200) for number in range(60)])
    until(lambda: own.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL"), 30)
    time_left = WARM_WITHIN_S
    (engine,) = [p for p in psutil.Process(worker.pid).children() if "EngineCore" in p.name()]
    engine.kill()
    assert worker.wait(30) == 1
    log = own.logs[worker.pid].read_text("utf-8", "replace")
    assert "engine_dead" in log
    assert "The worker leaves" in log
    assert own.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL") == 0
    start_worker(own)
    assert own.wait(batch, time_left).status == "completed"
    own.must_hold(batch, 60)
