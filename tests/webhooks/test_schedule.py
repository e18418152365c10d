"""When a failed delivery is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.webhooks.schedule import DELAYS_S, SPREAD, next_after_s

DAYS_3_S = 72 * 3600.0
jitters = st.floats(0, 1, exclude_max=True)


def pauses(jitter: float, asked_s: float | None = None) -> list[float]:
    """The pauses of a delivery that never succeeds."""
    found, attempt = [], 1
    while (pause_s := next_after_s(attempt, jitter, asked_s)) is not None:
        found.append(pause_s)
        attempt += 1
    return found


def test_a_receiver_that_is_away_for_a_moment_hears_soon_and_one_that_is_away_for_long_every_eight_hours() -> None:
    assert pauses(0.0)[:5] == [5.0, 30.0, 120.0, 600.0, 1800.0]
    assert set(pauses(0.0)[8:]) == {8 * 3600.0}


@given(jitters)
def test_a_message_is_given_up_after_three_days_and_not_much_before(jitter: float) -> None:
    total = sum(pauses(jitter))
    assert total <= DAYS_3_S
    assert total >= DAYS_3_S * (1 - SPREAD) * 0.99


@given(jitters, st.integers(1, len(DELAYS_S)))
def test_jitter_only_shortens_and_pauses_never_shrink_by_more_than_it(jitter: float, attempt: int) -> None:
    pause_s = next_after_s(attempt, jitter)
    assert pause_s is not None
    assert DELAYS_S[attempt - 1] * (1 - SPREAD) <= pause_s <= DELAYS_S[attempt - 1]
    assert tuple(sorted(DELAYS_S)) == DELAYS_S


@given(jitters, st.integers(len(DELAYS_S) + 1, 10**6))
def test_after_the_last_attempt_there_is_no_other(jitter: float, attempt: int) -> None:
    assert next_after_s(attempt, jitter, 60.0) is None


@given(jitters, st.floats(0, 3600), st.integers(1, len(DELAYS_S)))
def test_a_receiver_is_never_asked_again_sooner_than_it_asked_for(jitter: float, asked_s: float, attempt: int) -> None:
    pause_s = next_after_s(attempt, jitter, asked_s)
    assert pause_s is not None
    assert pause_s >= asked_s
    assert pause_s == max(asked_s, next_after_s(attempt, jitter) or 0.0)
    assert sum(pauses(jitter, asked_s)) <= DAYS_3_S + 5 * 3600
