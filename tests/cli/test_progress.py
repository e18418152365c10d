"""The time left is told by the latest pace, and not where nothing moves."""

from __future__ import annotations

from orchestrator.cli.progress import Pace


def test_the_time_left_goes_by_the_latest_pace_and_not_by_that_of_the_whole_run() -> None:
    pace = Pace()
    told = [pace.left(0, 400, float(second)) for second in range(300)]
    assert told[:20] == [""] * 20
    assert set(told[20:]) == {", waiting"}
    told = [pace.left(10 * second, 400, 300.0 + second) for second in range(30)]
    assert told[29] == ", about 11 s left"
    told = [pace.left(290, 400, 330.0 + second) for second in range(40)]
    assert told[-1] == ", waiting"
    assert pace.left(400, 400, 371.0) == ""


def test_a_pace_that_slows_is_told_in_minutes() -> None:
    pace = Pace()
    told = [pace.left(second, 10_000, float(second)) for second in range(60)]
    assert told[:2] == ["", ""]
    assert told[-1] == ", about 166 min left"
