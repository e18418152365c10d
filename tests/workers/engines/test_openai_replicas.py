"""Several servers of one model, over real sockets: which of them may fail without a request failing."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from orchestrator.errors import EngineFault
from tests.workers.engines.openai_fleet import (
    PACE,
    PATIENT,
    as_vllm,
    ask,
    ask_all,
    engine,
    fault_of,
    homed,
    replicas,
    run,
    servers,
    told,
    until,
)
from tests.workers.engines.openai_server import OpenAIServer


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rightsize")


def test_requests_are_shared_and_the_same_beginning_goes_to_the_same_server() -> None:
    async def main() -> None:
        async with servers("good", "good", "good") as found, engine(*found) as made:
            await ask_all(made, 60)
            assert min(len(one.exchanges) for one in found) >= 10
            before = [len(one.exchanges) for one in found]
            for _ in range(10):
                await made.perform(ask(7))
            gained = [len(one.exchanges) - count for one, count in zip(found, before, strict=True)]
            assert sorted(gained) == [0, 0, 10]

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_f26_a_server_that_is_down_at_the_start_costs_no_request(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            await found[0].__aexit__()
            async with engine(*found, pace=PATIENT) as made:
                if stream:
                    for n in range(20):
                        assert [chunk async for chunk in made.stream(ask(n))][-1].answer
                else:
                    await ask_all(made, 20)
                assert len(found[1].exchanges) == 20
                await until(lambda: replicas(made)[0].is_open)
                assert not replicas(made)[1].is_open
                assert (await made.health()).ready

    run(main)
    assert [row["replica"].split("/")[2] for row in told(caplog, "replica_away")] == [
        row["replica"].split("/")[2] for row in told(caplog, "replica_checked") if "reached" in row["detail"]
    ]


def test_f26_a_server_that_comes_later_gets_its_requests(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            await found[0].__aexit__()
            async with engine(*found) as made:
                await ask_all(made, 20)
                await until(lambda: replicas(made)[0].is_open)
                async with OpenAIServer(found[0].port) as back:
                    await until(lambda: not replicas(made)[0].is_open)
                    await ask_all(made, 40)
                    assert back.exchanges
                    assert (await made.health()).detail == "2 of 2 servers answer."

    run(main)
    assert len(told(caplog, "replica_back")) == 1


def test_f26_with_all_servers_down_a_request_waits_for_the_next_look_and_then_succeeds() -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            for one in found:
                await one.__aexit__()
            async with engine(*found, pace=replace(PACE, first_pause_s=0.4)) as made:
                assert (await fault_of(made, ask(1))).fault_code == "connection_failed"
                await until(lambda: all(one.is_open for one in replicas(made)))
                fault = await fault_of(made, ask(2))
                assert (fault.fault_code, fault.retryable, fault.http_status) == ("connection_failed", True, 503)
                assert fault.retry_after_s is not None
                assert 0 < fault.retry_after_s <= 0.5
                assert "models.under-test.replicas" in fault.message
                assert not (await made.health()).ready
                async with OpenAIServer(found[1].port):
                    await until(lambda: not replicas(made)[1].is_open)
                    await ask_all(made, 10)

    run(main)


def test_f26_retries_wait_ever_longer_for_servers_that_stay_away() -> None:
    async def main() -> None:
        async with servers("good") as found:
            await found[0].__aexit__()
            async with engine(*found, pace=replace(PACE, first_pause_s=5.0)) as made:
                for n in range(2):
                    assert (await fault_of(made, ask(n))).retry_after_s is None
                fault = await fault_of(made, ask(3))
                assert 4 < (fault.retry_after_s or 0) <= 5.1

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_f26_a_request_of_which_no_byte_was_answered_goes_to_another_server_once(stream: bool) -> None:
    async def main() -> None:
        async with servers("dropped", "good") as found, engine(*found) as made:
            request = homed(made, found[0])
            if stream:
                assert [chunk async for chunk in made.stream(request)][-1].answer
            else:
                await made.perform(request)
            assert [len(one.exchanges) for one in found] == [1, 1]
        async with servers("dropped", "dropped", "dropped") as found, engine(*found) as made:
            assert (await fault_of(made, ask(1))).fault_code == "connection_lost"
            assert sum(len(one.exchanges) for one in found) == 2

    run(main)


@pytest.mark.parametrize("behaviour,code", [("reset", "connection_lost"), ("status-500", "server_error")])
def test_f26_a_request_that_was_answered_in_part_goes_nowhere_else(behaviour: str, code: str) -> None:
    async def main() -> None:
        async with servers(behaviour, "good") as found, engine(*found) as made:
            assert (await fault_of(made, homed(made, found[0]))).fault_code == code
            assert not found[1].exchanges

    run(main)


@pytest.mark.parametrize(
    "behaviour,opens",
    [("empty-503", True), ("empty-400", False), ("status-503", False), ("status-429", False), ("status-400", False)],
)
def test_f26_only_faults_of_the_connection_open_the_circuit(behaviour: str, opens: bool) -> None:
    async def main() -> None:
        async with servers(behaviour) as found, engine(*found, pace=PATIENT) as made:
            for n in range(5):
                await fault_of(made, ask(n))
            assert replicas(made)[0].is_open is opens

    run(main)


def test_f27_a_server_that_froze_keeps_few_requests_and_the_others_finish() -> None:
    async def main() -> None:
        async with servers("good", "good") as found:
            for one in found:
                as_vllm(one)
            async with engine(*found, timeout_s=1.0) as made:
                found[0].frozen = True
                now = asyncio.get_running_loop().time
                await until(lambda: replicas(made)[0].weight(now()) < 0.5)
                done = await asyncio.gather(*(made.perform(ask(n)) for n in range(40)), return_exceptions=True)
                stuck = [one for one in done if isinstance(one, EngineFault)]
                assert {fault.fault_code for fault in stuck} <= {"timeout"}
                assert len(stuck) <= 5
                assert len(found[1].exchanges) == 40 - len(stuck)

    run(main)


def test_f27_a_slow_server_loses_its_share_to_the_others() -> None:
    async def main() -> None:
        async with servers("slow-300", "good") as found, engine(*found) as made:
            request = homed(made, found[0])
            at_once = asyncio.Semaphore(8)

            async def one(n: int) -> None:
                async with at_once:
                    await made.perform(replace(request, job_id=f"job_{n}"))

            await asyncio.gather(*map(one, range(60)))
            slow, quick = (len(server.exchanges) for server in found)
            assert slow + quick == 60
            assert quick > 2 * slow

    run(main)


def test_f28_a_server_with_another_model_is_a_fault_that_names_both_and_gets_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with servers("good", "changed-model") as found, engine(*found) as made:
            fault = await fault_of(made, homed(made, found[1]))
            assert (fault.fault_code, fault.retryable) == ("wrong_model", True)
            assert "'under-test'" in fault.message
            assert "'somebody-else'" in fault.message
            assert "models.under-test.replicas[0]" in fault.message
            await ask_all(made, 40)
            assert len(found[1].exchanges) == 1

    run(main)
    assert [row["serves"] for row in told(caplog, "replica_checked")][-1] == "no"


def test_f28_where_every_server_has_another_model_the_fault_is_final() -> None:
    async def main() -> None:
        async with servers("changed-model", "changed-model") as found, engine(*found) as made:
            faults = [await fault_of(made, ask(n)) for n in range(40)]
            assert {fault.fault_code for fault in faults} == {"wrong_model"}
            assert not faults[-1].retryable

    run(main)
