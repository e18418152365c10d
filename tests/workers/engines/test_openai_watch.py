"""What a model's servers say of themselves, over real sockets, and what is sent because of it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from tests.workers.engines.openai_fleet import (
    PATIENT,
    as_vllm,
    ask,
    ask_all,
    engine,
    fault_of,
    homed,
    listing,
    page,
    replicas,
    run,
    servers,
    told,
    until,
)
from workers.engines.openai import BULK_PRIORITY


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rightsize")


def test_at_the_start_each_server_tells_what_it_serves(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with servers("good", "status-404", "good") as found:
            as_vllm(found[0])
            as_vllm(found[1], "something-else")
            await found[2].__aexit__()
            async with engine(*found, pace=PATIENT) as made:
                await ask_all(made, 30)
                assert not found[1].exchanges

    run(main)
    said = {row["serves"]: row["detail"] for row in told(caplog, "replica_checked")}
    assert said["yes"] == "it is vLLM"
    assert "'something-else'" in said["no"]
    assert "cannot be reached" in said["unknown"]


def test_f28_a_server_that_was_started_again_with_another_model_is_found_out() -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            for one in found:
                as_vllm(one)
            async with engine(*found) as made:
                found[0].listing, found[0].behaviour = listing("something-else"), "status-404"
                fault = await fault_of(made, homed(made, found[0]))
                assert (fault.fault_code, fault.retryable) == ("model_not_found", True)
                await ask_all(made, 30)
                assert len(found[0].exchanges) == 1

    run(main)


def test_a_refused_endpoint_does_not_turn_a_server_away() -> None:
    async def main() -> None:
        async with servers("status-404", "good") as found:
            for one in found:
                as_vllm(one)
            async with engine(*found) as made:
                fault = await fault_of(made, homed(made, found[0]))
                assert (fault.fault_code, fault.retryable) == ("model_not_found", False)
                assert not replicas(made)[0].misfit

    run(main)


def test_the_load_is_that_of_all_servers_and_unknown_when_one_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            for one in found:
                one.listing = listing("under-test")
            found[0].metrics, found[1].metrics = page(3, 1, 0.25, 7), page(4, 0, 0.5, 0)
            async with engine(*found) as made:
                load = made.load_now()
                assert load is not None
                assert (load.running, load.waiting, load.kv_use, load.preemptions) == (7, 1, 0.5, 0)
                found[0].metrics = page(30, 2, 0.75, 9)
                await until(lambda: (now := made.load_now()) is not None and (now.running, now.preemptions) == (34, 2))
                found[1].frozen = True
                await until(lambda: made.load_now() is None)
                await until(lambda: told(caplog, "replica_silent"))

    run(main)
    assert len(told(caplog, "replica_silent")) == 1


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"vllm:num_requests_running -3\n", b"x" * (3 * 2**20), None])
def test_f28_metrics_that_cannot_be_read_are_told_once_and_cost_no_request(
    garbage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            for one in found:
                as_vllm(one)
            async with engine(*found) as made:
                assert made.load_now() is not None
                found[0].metrics = garbage
                await until(lambda: made.load_now() is None)
                asked = found[0].asked["/metrics"]
                await until(lambda: found[0].asked["/metrics"] > asked + 3)
                await ask_all(made, 20)
                now = asyncio.get_running_loop().time()
                assert replicas(made)[0].weight(now) < replicas(made)[1].weight(now)
                found[0].metrics = page()
                await until(lambda: made.load_now() is not None)

    run(main)
    assert len(told(caplog, "replica_silent")) == 1


def test_a_server_that_is_not_vllm_is_asked_once_and_has_no_load() -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            as_vllm(found[0])
            async with engine(*found) as made:
                await until(lambda: found[0].asked["/metrics"] > 5)
                assert made.load_now() is None
                assert found[1].asked == {"/v1/models": 1, "/metrics": 1}

    run(main)


def test_vllm_is_told_that_bulk_work_gives_way_and_no_other_server_is() -> None:
    async def main() -> None:
        async with servers("good") as (vllm,), servers("good") as (other,):
            as_vllm(vllm)
            async with engine(vllm) as made:
                await made.perform(ask(1))
                await made.perform(ask(2, priority=-5))
                await made.perform(replace(ask(3), interactive=True))
                await made.perform(replace(ask(4, priority=-5), interactive=True))
            async with engine(other) as made:
                await made.perform(ask(5, priority=-5))
            sent = [exchange.body.get("priority") for exchange in (*vllm.exchanges, *other.exchanges)]
            assert sent == [BULK_PRIORITY, BULK_PRIORITY, None, None, None]

    run(main)


def test_a_vllm_that_ranks_nothing_is_asked_again_without_a_priority_and_only_once() -> None:
    async def main() -> None:
        async with servers("unranked") as (one,):
            as_vllm(one)
            async with engine(one) as made:
                for n in range(3):
                    await made.perform(ask(n))
            assert [exchange.body.get("priority") for exchange in one.exchanges] == [BULK_PRIORITY, None, None, None]

    run(main)


def test_structured_outputs_go_to_vllm_only() -> None:
    choice = {"choice": ["yes", "no"]}

    async def main() -> None:
        async with servers("good", "good") as (vllm, other):
            as_vllm(vllm)
            async with engine(other, vllm) as made:
                assert not made.limits().structured
                for n in range(10):
                    await made.perform(ask(n, structured_outputs=choice))
                assert [exchange.body["structured_outputs"] for exchange in vllm.exchanges] == [choice] * 10
                assert not other.exchanges
            async with engine(vllm) as made:
                assert made.limits().structured
            async with engine(other) as made:
                fault = await fault_of(made, ask(1, structured_outputs=choice))
                assert (fault.fault_code, fault.retryable, fault.http_status) == ("bad_request", False, 400)
                assert "response_format" in fault.message

    run(main)


def test_f26_structured_outputs_wait_for_a_server_that_has_not_said_what_it_is() -> None:
    async def main() -> None:
        async with servers("good") as (one,):
            as_vllm(one)
            one.frozen = True
            async with engine(one) as made:
                request = ask(1, structured_outputs={"choice": ["yes"]})
                assert (await fault_of(made, request)).retryable
                one.frozen = False
                await until(lambda: replicas(made)[0].is_vllm)
                await made.perform(request)

    run(main)
