"""How long a batch is forecast to take: the engine's work over the live slots, beside what waits, and our own work."""

from __future__ import annotations

import pytest

from orchestrator.forecasting import (
    Bounds,
    Forecast,
    Histories,
    Lane,
    Load,
    share_beside,
)
from orchestrator.forecasting.load import BATCH_S, ROW_S
from tests.forecasts import LOADS, NOTHING, history, request, rows, some_jobs, told


def engines(found: Forecast) -> Bounds:
    """The time without our own work beside the engine's."""
    seconds, jobs = found.whole.seconds, found.whole.jobs
    return Bounds(*(a - b - jobs * c for a, b, c in zip(seconds, BATCH_S, ROW_S, strict=True)))


def test_time_is_the_engines_work_over_the_live_slots_after_what_waits() -> None:
    known = Histories({("triage", "large"): history(*[some_jobs(50, seed, seconds=2.0) for seed in range(4)])})
    asked = rows(*[request()] * 80)

    def expected(**load: float) -> Bounds:
        found = told(asked, known, {**LOADS, "large": Load(**{"slots": 8, "latency_s": 1.0, **load})})  # type: ignore[arg-type]
        return engines(found)

    alone = expected()
    assert alone.expected == pytest.approx(80 * 2 / 8)
    assert alone.low < alone.expected < alone.high
    assert expected(slots=16).expected == pytest.approx(80 * 2 / 16)
    assert expected(slots=1_000).expected == pytest.approx(2)  # no faster than one request
    # Half of the slots for each: a short queue is through before us, a long one leaves us our half.
    assert expected(ahead_s=5, share=0.5).expected == pytest.approx(25)
    assert expected(ahead_s=1_000, share=0.5).expected == pytest.approx(40)
    assert expected(ahead_s=1_000, share=0.5).high > 1_000


def test_without_history_the_time_is_that_of_the_models_requests() -> None:
    found = told(rows(*[request()] * 80), NOTHING, {**LOADS, "large": Load(8, 3.0)})
    assert engines(found) == pytest.approx(Bounds(30, 15, 60))


def test_reading_and_recording_take_their_time_even_if_the_engine_takes_none() -> None:
    known = Histories({("triage", "large"): history(*[some_jobs(50, seed, seconds=0.0) for seed in range(4)])})
    few, many = (told(rows(*[request()] * jobs), known).whole.seconds for jobs in (1, 5_000))
    assert 0 < few.low < few.expected < few.high < 5
    assert many.expected > few.expected + 1


@pytest.mark.parametrize(
    "waiting, share",
    [
        ([], 1),
        ([Lane(1, 1, 1, 1)], 1 / 2),
        ([Lane(1, 2, 1, 3)], 1 / 4),
        ([Lane(2, 9, 1, 1)] * 10, 1 / 2),
        ([Lane(2, 9, 3, 1)], 1 / 4),
        ([Lane(2, 9, 1, 1), Lane(1, 2, 1, 1), Lane(1, 1, 1, 1)], 1 / 8),
    ],
)
def test_a_further_lane_gets_the_share_that_dispatching_gives_it(waiting: list[Lane], share: float) -> None:
    assert share_beside(Lane(1, 1, 1, 1), waiting) == pytest.approx(share)
