"""The room in an engine's cache: what is let in fits at its fullest, and little is left empty for fear of it."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts import Usage
from tests.workers.scheduler import BLOCK, BLOCKS, STEP_S, run
from workers.gate import Gate
from workers.room import CHARS_A_TOKEN, FILL, Ask, Room, peak

points = st.lists(st.tuples(st.floats(0, 1_000), st.floats(0, 1_000)), max_size=12)


def stepwise(held: list[tuple[float, float]]) -> float:
    """The peak by walking through time: just before each end, and now."""
    moments = [0.0, *(left for _, left in held)]
    return max(sum(now + at for now, left in held if left >= at) for at in moments)


@given(points)
def test_the_peak_is_the_fullest_moment_on_the_way(held: list[tuple[float, float]]) -> None:
    assert peak(held) == pytest.approx(stepwise(held), abs=1e-6)


def text(tokens: int) -> int:
    """Characters of a prompt of so many tokens."""
    return round(tokens * CHARS_A_TOKEN)


def filled(room: Room, prompt: int, most: int, now: float = 0.0) -> list[Ask]:
    """Requests let in until no more fit."""
    inside: list[Ask] = []
    while room.fits(asked := room.ask(text(prompt), most), now):
        room.enter(asked, now)
        inside.append(asked)
    return inside


def filled_by(room: Room, chars: int, most: int) -> list[Ask]:
    """The same by characters."""
    return filled(room, round(chars / CHARS_A_TOKEN), most)


def test_what_is_let_in_at_once_fits_also_when_all_answers_are_at_their_end() -> None:
    inside = filled(Room(16_384), prompt=100, most=300)
    assert len(inside) == int(FILL * 16_384 / 400)


def test_a_request_that_is_larger_than_the_cache_is_let_in_alone() -> None:
    room = Room(1_000)
    first = room.ask(text(5_000), 5_000)
    assert room.fits(first, 0.0)
    room.enter(first, 0.0)
    assert not room.fits(room.ask(text(1), 1), 0.0)
    room.leave(first)
    assert room.fits(room.ask(text(5_000), 1), 0.0)


def served(room: Room, *, prompt: int, writes: tuple[int, int], most: int | None = None, cached: int = 0) -> float:
    """The mean share of a cache of 16,384 tokens that is really taken in the second half of forty seconds, with work always waiting.

    Answers are drawn between two lengths; `most` is what each may have, its true length where none is given.
    """
    dice, pace, now, step = random.Random(3), 40.0, 0.0, 0.125
    inside: list[tuple[Ask, int]] = []
    used: list[float] = []
    length = dice.randint(*writes)
    while now < 40:
        while room.fits(asked := room.ask(text(prompt), most or length), now):
            room.enter(asked, now)
            inside.append((asked, length))
            length = dice.randint(*writes)
        now += step
        held = [(prompt - cached) + min(length_, (now - one.since) * pace) for one, length_ in inside]
        used.append(sum(held) / 16_384)
        for one, length_ in [pair for pair in inside if (now - pair[0].since) * pace >= pair[1]]:
            inside.remove((one, length_))
            room.leave(one)
            room.learn(one, Usage(prompt, cached, length_), length_ / pace)
    # What is let in between two steps of time, and lengths that are only learnt: the engine's own report is the second bound.
    assert max(used) <= (1.02 if most is None else 1.05)
    return sum(used[len(used) // 2 :]) / (len(used) // 2)


def test_the_cache_is_well_used_and_hardly_overfull() -> None:
    assert served(Room(16_384), prompt=200, writes=(160, 480)) > 0.9


def test_answers_that_are_shorter_than_allowed_make_room_for_more() -> None:
    assert served(Room(16_384), prompt=100, writes=(80, 120), most=1_000) > 0.8


def test_a_prompt_that_the_cache_has_already_takes_no_room_again() -> None:
    room = Room(16_384)
    served(room, prompt=1_000, writes=(40, 60), most=60, cached=900)
    assert len(filled(room, prompt=1_000, most=50)) > 60


def test_answers_that_grow_longer_than_they_were_are_followed() -> None:
    room = Room(16_384)
    served(room, prompt=50, writes=(40, 60), most=1_000)
    before = len(filled(room, prompt=50, most=1_000))
    grown = Room(16_384)
    for _ in range(60):
        grown.learn(grown.ask(text(50), 1_000), Usage(50, 0, 800), 16.0)
    assert len(filled(grown, prompt=50, most=1_000)) < before / 3


def test_requests_that_are_heavier_than_expected_leave_less_room_within_a_second_of_looks() -> None:
    room = Room(16_384)
    inside = filled(room, prompt=100, most=300)
    for look in range(4):
        room.compare(2.0 * 100 * len(inside), look / 4)
    for one in inside:
        room.leave(one)
    assert len(filled(room, prompt=100, most=300)) < 0.6 * len(inside) + 1
    for look in range(20):
        room.compare(100.0, look / 4)
    assert len(filled(room, prompt=100, most=300)) <= len(inside)


def test_the_gate_keeps_out_what_does_not_fit_until_there_is_room_and_lets_interactive_requests_pass() -> None:
    async def main() -> None:
        room = Room(1_000)
        gate = Gate(slots=8, reserved_share=0.25, room=room)
        large = [room.ask(text(300), 100) for _ in range(3)]
        order: list[str] = []
        go_on = asyncio.Event()

        async def one(name: str, asked: Ask, *, interactive: bool = False) -> None:
            async with gate.passing(interactive=interactive, asked=asked):
                order.append(name)
                if not interactive:
                    await go_on.wait()

        async with asyncio.TaskGroup() as group:
            for number, asked in enumerate(large):
                group.create_task(one(f"bulk {number}", asked))
            await asyncio.sleep(0)
            assert (order, gate.waiting) == (["bulk 0", "bulk 1"], 1)
            await group.create_task(one("now", room.ask(text(900), 10), interactive=True))
            assert (order[-1], gate.waiting) == ("now", 1)
            go_on.set()
        assert order[-1] == "bulk 2"
        assert (gate.inside, room.fits(room.ask(text(900), 10), 0.0)) == (0, True)

    asyncio.run(main())


def test_a_cold_start_on_long_rows_preempts_next_to_nothing_and_leaves_little_empty() -> None:
    dice = random.Random(9)
    rows = [(900, 264, dice.randint(160, 480)) for _ in range(320)]
    room = Room(BLOCKS * BLOCK, BLOCK)
    assert room.unsure
    room.count(900, 264)
    engine, seconds = run(room, rows)
    assert engine.preempted <= len(rows) // 100
    written = sum(length for _, _, length in rows)
    assert written / (seconds / STEP_S) > 25, "requests that run in the mean of all steps, start and end included"


def test_a_rule_of_thumb_that_is_wrong_is_given_up_once_some_have_ended() -> None:
    dice = random.Random(9)
    engine, _ = run(Room(BLOCKS * BLOCK, BLOCK), [(700, 264, dice.randint(160, 480)) for _ in range(320)])
    assert engine.preempted < 20, "those that came in before any had ended"


def test_short_chats_that_are_mostly_template_do_not_keep_long_rows_out() -> None:
    room = Room(50_000, 16)
    for _ in range(8):
        room.count(5, 4)
    for _ in range(100):
        room.learn(room.ask(5, 64), Usage(35, 0, 64), 1.0)
    assert room.ask(5, 64).prompt == pytest.approx(35, rel=0.05), "of its own kind"
    fit = 0.98 * 50_000 / (1_035 + 256)
    assert len(filled_by(room, chars=4_000, most=256)) > 0.5 * fit
    for one in list(room._inside):
        room.leave(one)
    for _ in range(5):
        room.learn(room.ask(4_000, 256), Usage(1_030, 0, 256), 5.0)
    assert 0.85 * fit < len(filled_by(room, chars=4_000, most=256)) < 1.1 * fit


def test_an_overfull_engine_is_no_reason_to_expect_less() -> None:
    room = Room(16_384)
    inside = filled(room, prompt=100, most=300)
    for look in range(8):
        room.compare(2.0 * 100 * len(inside), look / 4)
    for look in range(8, 16):
        room.compare(100.0, look / 4, overfull=True)
    for one in inside:
        room.leave(one)
    assert len(filled(room, prompt=100, most=300)) < 0.6 * len(inside) + 1
