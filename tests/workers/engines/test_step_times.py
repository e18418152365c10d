"""Step times are kept in little memory, and read within one per cent."""

from __future__ import annotations

import random

import pytest

from workers.engines._vllm.step_times import StepTimes


def test_percentiles_are_those_of_all_steps_within_one_per_cent() -> None:
    dice = random.Random(3)
    steps, times = StepTimes(), sorted(dice.lognormvariate(-4.0, 1.0) for _ in range(2_000))
    for time in times:
        steps.add(time)
    assert steps.count == 2_000
    assert steps.percentile(0.5) == pytest.approx(times[999], rel=0.011)
    assert steps.percentile(0.99) == pytest.approx(times[1979], rel=0.011)


def test_no_step_has_no_percentile_and_a_step_of_no_time_counts() -> None:
    steps = StepTimes()
    assert steps.percentile(0.5) is None
    steps.add(0.0)
    assert steps.percentile(0.5) == pytest.approx(1e-6, rel=0.011)
