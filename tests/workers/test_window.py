"""The window follows what the engine reports, and the gate lets in as many as it says."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from workers.engines.base import Load
from workers.gate import Gate
from workers.window import Seen, next_limit


def settle(capacity: int, start: int, looks: int = 40, most: int = 200) -> int:
    """The limit after some looks at an engine that runs `capacity` at once and always has work before it."""
    seen = Seen(start)
    for _ in range(looks):
        held = seen.limit
        load = Load(min(held, capacity), max(0, held - capacity), min(held, capacity) / capacity * 0.8, 0)
        seen = next_limit(seen, load, held=held, inside=held, wanted=100, most=most, least=2, elapsed_s=0.25)
    return seen.limit


@given(st.integers(2, 150), st.integers(2, 200))
def test_it_settles_a_little_above_what_the_engine_runs_from_wherever_it_starts(capacity: int, start: int) -> None:
    assert capacity * 0.9 <= settle(capacity, start) <= max(capacity * 1.3 + 2, 3)


@given(st.integers(2, 200), st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), st.integers(0, 9))
def test_it_never_leaves_its_bounds(limit: int, running: int, waiting: int, kv_use: float, preemptions: int) -> None:
    load = Load(running, waiting, kv_use, preemptions)
    found = next_limit(Seen(limit), load, held=limit, inside=limit, wanted=5, most=64, least=2, elapsed_s=0.25)
    assert 2 <= found.limit <= 64


def test_a_burst_that_waits_for_its_first_step_does_not_close_the_gate() -> None:
    seen = next_limit(Seen(30), Load(1, 29, 0.1, 0), held=30, inside=30, wanted=9, most=64, least=2, elapsed_s=0.25)
    assert seen.limit == 24


def test_a_preemption_takes_work_back_at_once() -> None:
    found = next_limit(
        Seen(100, 0.9, 0), Load(50, 0, 0.9, 1), held=50, inside=50, wanted=9, most=128, least=2, elapsed_s=0.25
    )
    assert found.limit == 40


def test_preemptions_of_what_was_let_in_before_the_step_back_take_no_more_away() -> None:
    first = next_limit(
        Seen(100, 0.9, 0), Load(50, 0, 0.9, 1), held=50, inside=50, wanted=9, most=128, least=2, elapsed_s=0.25
    )
    second = next_limit(first, Load(44, 6, 0.9, 7), held=50, inside=50, wanted=9, most=128, least=2, elapsed_s=0.25)
    assert (first.limit, second.limit) == (40, 40)


def test_a_cache_that_fills_lets_nothing_new_in_before_it_is_full() -> None:
    seen = Seen(60, 0.70, 0)
    found = next_limit(seen, Load(40, 0, 0.78, 0), held=40, inside=40, wanted=9, most=128, least=2, elapsed_s=0.25)
    assert found.limit == 40, "0.08 more in a quarter of a second is over the brim within a second"


def test_a_report_that_cannot_be_read_means_less_work_and_never_more() -> None:
    limits = [64]
    seen = Seen(64)
    for _ in range(8):
        seen = next_limit(seen, None, held=64, inside=64, wanted=64, most=128, least=2, elapsed_s=0.25)
        limits.append(seen.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == 2


def test_of_a_server_that_others_use_too_only_our_share_counts() -> None:
    load = Load(100, 100, 0.5, 0)
    seen = Seen(80)
    for _ in range(12):
        seen = next_limit(seen, load, held=20, inside=20, wanted=50, most=128, least=2, elapsed_s=0.25)
    assert seen.limit == 11


def test_interactive_requests_find_a_slot_while_bulk_work_fills_its_own() -> None:
    async def main() -> None:
        gate = Gate(10)
        entered: list[str] = []

        async def one(name: str, *, interactive: bool) -> None:
            async with gate.passing(interactive=interactive):
                entered.append(name)
                await asyncio.sleep(3600)

        bulk = [asyncio.create_task(one(f"bulk{n}", interactive=False)) for n in range(20)]
        await asyncio.sleep(0)
        assert (len(entered), gate.waiting) == (9, 11)
        now = [asyncio.create_task(one(f"now{n}", interactive=True)) for n in range(2)]
        await asyncio.sleep(0)
        assert entered[9:] == ["now0"]
        bulk[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert entered[10:] == ["now1"], "who waits for an answer comes before bulk work"
        for task in (*bulk, *now):
            task.cancel()
        await asyncio.gather(*bulk, *now, return_exceptions=True)
        assert (gate.inside, gate.waiting) == (0, 0)

    asyncio.run(main())


def test_a_request_called_off_as_it_is_let_in_leaves_its_place() -> None:
    async def main() -> None:
        gate = Gate(1, 0.0)

        async def one() -> None:
            async with gate.passing(interactive=False):
                await asyncio.sleep(3600)

        first, second = asyncio.create_task(one()), asyncio.create_task(one())
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert gate.inside == 0
        third = asyncio.create_task(one())
        await asyncio.sleep(0)
        assert gate.inside == 1
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)

    asyncio.run(main())


def test_a_smaller_limit_lets_nobody_in_until_enough_are_out() -> None:
    async def main() -> None:
        gate = Gate(8, 0.0)
        doors = [asyncio.Event() for _ in range(8)]
        inside = 0

        async def one(door: asyncio.Event) -> None:
            nonlocal inside
            async with gate.passing(interactive=False):
                inside += 1
                await door.wait()
                inside -= 1

        tasks = [asyncio.create_task(one(door)) for door in (*doors, *doors)]
        await asyncio.sleep(0)
        gate.limit_bulk(2)
        for door in doors[:6]:
            door.set()
        for _ in range(4):
            await asyncio.sleep(0)
        assert inside == 2
        for door in doors:
            door.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
