"""Batches from any kind of work to results in any order, steered while they run, and followed across lost connections."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator import errors
from orchestrator.api import progress as api_progress
from orchestrator.client import AsyncRightsize, Batch, Rightsize
from tests.client.cutting import Cutter
from tests.serving import Api
from tests.stack import chat, row, rows, until


def named(lines: Iterator[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


def said(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


def test_a_batch_of_bodies_rows_texts_and_lines_comes_back_in_the_order_in_which_it_was_handed_in(
    client: Rightsize,
) -> None:
    def items() -> Iterator[dict[str, Any] | str | bytes]:
        yield chat("[[sleep:0.5]] a body", model="thinker")
        yield row("mine", chat("a row"))
        yield "a text"
        yield orjson.dumps(row("a-line", chat("a line")))
        yield chat("[[fail:400]]")
        yield b"{broken"
        yield {"custom_id": "short", "body": chat("a short row")}

    batch = client.submit(items(), metadata={"team": "x"})
    assert isinstance(batch, Batch)
    assert (batch.status, batch.has_ended, batch.object["metadata"]) == ("validating", False, {"team": "x"})
    order = ["row-1", "mine", "row-3", "a-line", "row-5", "line-6", "short"]
    assert named(batch.results(in_order=True)) == order
    assert (batch.status, batch.has_ended) == ("completed", True)
    assert batch.counts == {"total": 7, "completed": 5, "failed": 2}
    assert Decimal(batch.cost_usd) > 0
    assert batch.errors == []
    lines = list(batch.results())
    assert sorted(named(iter(lines))) == sorted(order)
    assert [line["error"] is None for line in lines] == [True] * 5 + [False] * 2
    assert "5 of 7 rows done, 2 failed" in repr(client.batch_of(batch.id))


def test_a_file_and_a_folder_are_read_as_the_command_line_reads_them(client: Rightsize, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "one.txt").write_text("Where is my order?")
    (folder / "two.txt").write_text("")
    (tmp_path / "rows.csv").write_text("text\nWhere is it?\nI want it back.\n")
    found = {line["custom_id"]: line for line in client.submit(folder, instructions="Name the topic.").results()}
    assert said(found["one.txt"])
    assert found["two.txt"]["error"]["code"] == "empty_file"
    assert len(list(client.submit(str(tmp_path / "rows.csv"), task="triage").results(in_order=True))) == 2
    with pytest.raises(errors.InvalidRequest, match="cannot be submitted"):
        client.submit(tmp_path / "none")


def test_options_say_where_rows_run_what_they_may_cost_and_what_becomes_of_wrong_ones(client: Rightsize) -> None:
    batch = client.submit(["Hello"] * 3, tier="rlm", instructions="Be brief.", rightsize={"stakes": "low"}).wait()
    assert set(batch.object["rightsize"]["tiers"]) == {"rlm"}
    too_dear = client.submit(["Hello"], max_cost_usd=Decimal("0.000001")).wait()
    assert too_dear.status == "failed"
    assert list(too_dear.results(in_order=True)) == []
    wrong = client.submit([b"{broken"], on_invalid_row="fail").wait()
    assert (wrong.status, wrong.errors[0]["line"]) == ("failed", 1)
    with pytest.raises(TypeError, match="tiers"):
        client.submit(["Hello"], tiers="llm")  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidRequest, match="no batch"):
        client.submit(chat("Hello"))  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidRequest, match="Item 2 is int"):
        client.submit(["Hello", 7])  # type: ignore[list-item]


def test_other_endpoints_take_texts_too(client: Rightsize) -> None:
    (line,) = client.submit(["where is my card"], endpoint="/v1/classify").results()
    assert "probs" in line["response"]["body"]["data"][0]


def test_asynchronous_code_has_the_same_verbs(api: Api) -> None:
    async def items() -> AsyncIterator[str]:
        for number in range(20):
            yield f"Number {number}"
        yield "[[fail:400]]"

    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as client:
            batch = await client.submit(items())
            names = [line["custom_id"] async for line in batch.results(in_order=True)]
            assert names == [f"row-{number}" for number in range(1, 22)]
            seen = [event["status"] async for event in batch.progress()]
            assert seen[-1] == "completed"
            again = await batch.retry(tier="rlm")
            assert again.retry_of == batch.id
            merged = [line["custom_id"] async for line in again.results(in_order=True)]
            assert merged == names
            assert len([line async for line in client.results(batch.id)]) == 21
            slow = await client.submit([chat("[[sleep:60]]", model="thinker")])
            await slow.pause()
            assert (await slow.refresh()).object["rightsize"]["paused"]["reason"] == "requested"
            await slow.resume()
            await slow.cancel()
            assert (await slow.wait(within_s=30)).status == "cancelled"
            assert batch.id in [one["id"] async for one in client.batches(page=2)]
            found = await client.estimate(["Hello"] * 5, tier="llm")
            assert (found["rows"], set(found["tiers"])) == (5, {"llm"})
            assert (await client.batch_of(batch.id)).has_ended

    asyncio.run(run())


def test_an_estimate_runs_nothing_and_leaves_no_file(api: Api, client: Rightsize) -> None:
    jobs, files = api.stack.count("SELECT count(*) FROM jobs"), [one["id"] for one in client.files()]
    found = client.estimate([*["Hello"] * 10, b"{broken"], tier="llm")
    assert (found["rows"], found["invalid_rows"]) == (11, 1)
    assert found["total"]["jobs"] == found["tiers"]["llm"]["jobs"] == 10
    cost = {name: Decimal(value) for name, value in found["total"]["cost_usd"].items()}  # type: ignore[arg-type]
    assert cost["low"] <= cost["expected"] <= cost["high"] <= Decimal(found["total"]["at_most_usd"])
    assert set(found["alternatives"]) >= {"llm", "rlm"}
    assert api.stack.count("SELECT count(*) FROM jobs") == jobs
    assert [one["id"] for one in client.files()] == files
    with pytest.raises(errors.InvalidRequest):
        client.estimate([b"{broken"])
    assert [one["id"] for one in client.files()] == files


def test_a_batch_is_paused_resumed_and_cancelled(client: Rightsize) -> None:
    slow = (chat(f"[[sleep:0.3]] {number}", model="thinker") for number in range(200))
    batch = client.submit(slow, max_cost_usd="50")
    until(lambda: batch.refresh().counts["completed"] > 0, 15, "some rows are done")
    assert batch.pause().object["rightsize"]["paused"]["reason"] == "requested"
    resumed = batch.resume(max_cost_usd="100").object["rightsize"]
    assert (resumed["paused"], Decimal(resumed["max_cost_usd"])) == (None, 100)
    assert batch.cancel().status in ("cancelling", "cancelled")
    assert batch.wait(within_s=30).status == "cancelled"
    with pytest.raises(errors.Conflict):
        batch.pause()


def test_results_of_a_retried_batch_are_those_of_both_in_the_order_of_the_first(client: Rightsize) -> None:
    first = client.submit(
        [*rows(3), row("bad", chat("[[fail:400]] x", model="fast")), row("last", chat("x"))]
    ).wait()  # fmt: skip
    with pytest.raises(errors.InvalidRequest):
        first.retry(only="no_such_code")
    second = first.retry(only="bad_request")
    assert (second.retry_of, first.retry_of) == (first.id, None)
    assert named(second.results(in_order=True)) == ["row-0", "row-1", "row-2", "bad", "last"]
    assert {*named(second.results())} == {"row-0", "row-1", "row-2", "bad", "last"}
    assert set(second.object["rightsize"]["tiers"]) == {"rlm"}


def test_the_order_of_a_batch_whose_input_is_gone_is_said_to_be(client: Rightsize) -> None:
    batch = client.submit(["One", "Two"]).wait()
    client.delete_file(batch.object["input_file_id"])
    with pytest.raises(errors.NotFound, match="without in_order"):
        list(batch.results(in_order=True))
    assert len(list(batch.results())) == 2


def test_existing_verbs_on_ids_work_as_ever(api: Api, client: Rightsize) -> None:
    lines = (orjson.dumps(one) for one in [*rows(50), row("bad", chat("[[fail:400]]"))])
    made = client.create_batch(client.upload(lines)["id"], metadata={"a": "b"})
    seen: list[str] = []
    batch = client.wait(made["id"], lambda one: seen.append(one["status"]), within_s=30)
    assert (batch["status"], seen[-1]) == ("completed", "completed")
    found = {line["custom_id"]: line for line in client.results(batch)}
    assert len(found) == 51
    assert found["bad"]["error"]["code"] == "bad_request"
    assert made["id"] in [one["id"] for one in client.batches(page=1)]
    assert client.cost("batch", batch=made["id"])["total"]["jobs"] == 50
    with pytest.raises(errors.Conflict):
        client.cancel(made["id"])
    slow = client.create_batch(client.upload([orjson.dumps(row("slow", chat("[[sleep:60]]", model="thinker")))])["id"])
    assert client.wait(slow["id"], within_s=0.3)["status"] != "completed"
    client.cancel(slow["id"])


def test_progress_is_told_whenever_it_changes_and_ends_with_the_batch(client: Rightsize) -> None:
    batch = client.submit(chat(f"[[sleep:0.2]] {number}", model="thinker") for number in range(40))
    events = list(batch.progress())
    assert events[-1]["status"] == "completed"
    assert events[-1]["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
    done = [event["request_counts"]["completed"] for event in events]
    assert done == sorted(done)
    assert len(events) > 2


def test_progress_goes_on_behind_the_last_event_after_a_lost_connection(cutter: Cutter, api: Api) -> None:
    cutter.cut("/events", times=3, answer_bytes=1_200)
    with Rightsize(cutter.url, api.key) as through:
        batch = through.submit(chat(f"[[sleep:0.2]] {number}", model="thinker") for number in range(60))
        events = list(batch.progress())
    assert cutter.cuts == 3
    assert events[-1]["status"] == "completed"
    marks = [(event["status"], tuple(event["request_counts"].values())) for event in events]
    assert len(marks) == len(set(marks))
    opened = cutter.asked("/events")
    assert b"last-event-id" not in opened[0].lower()
    assert b"last-event-id" in opened[-1].lower()


def test_asynchronous_progress_goes_on_after_a_lost_connection(cutter: Cutter, api: Api) -> None:
    cutter.cut("/events", times=2, answer_bytes=1_200)

    async def run() -> list[int]:
        async with AsyncRightsize(cutter.url, api.key) as through:
            batch = await through.submit([chat(f"[[sleep:0.2]] {number}", model="thinker") for number in range(40)])
            return [event["request_counts"]["completed"] async for event in batch.progress()]

    done = asyncio.run(run())
    assert (done[-1], cutter.cuts) == (40, 2)
    assert done == sorted(done)


def test_where_there_are_no_events_the_batch_is_looked_at(
    cutter: Cutter, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_progress, "MOST_FOLLOWERS", 0)
    with Rightsize(cutter.url, api.key) as through:
        batch = through.submit([chat("[[sleep:1]]", model="thinker"), "Hello"])
        events = list(batch.progress())
        assert events[-1]["status"] == "completed"
        with pytest.raises(errors.NotFound):
            list(through.progress(f"batch_{'0' * 32}"))


def test_in_order_takes_little_memory_whatever_the_batch_holds(client: Rightsize) -> None:
    padding = "x" * 8_000
    batch = client.submit(row(f"row-{number}", chat(f"{number} {padding}")) for number in range(2_000)).wait()
    assert batch.counts["completed"] == 2_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in batch.results(in_order=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 2_000
    assert peak < 12 << 20  # the input alone has 16 MB
