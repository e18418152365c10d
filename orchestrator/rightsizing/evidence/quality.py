"""How good answers are, by source, from samples that were drawn with known probabilities. Pure.

Rows to be looked at are drawn with a probability that was set and recorded before the draw. Answers that were drawn with the same
probability are a fair sample of those that it held for, so each such group has the exact binomial interval; groups are put together
by the number of rows that each stands for, with the chance of error split among them. A verdict that stays missing past its limit is to be
counted as wrong before it comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.evidence.facts import Fact, Interval, Quality, Source
from orchestrator.rightsizing.guarantees.bounds import Stratum, stratified_lower

LEVEL: Final = 0.95
ITSELF: Final = "the reference agrees with itself by definition"


@dataclass(frozen=True, slots=True)
class Group(Fact):
    """Answers for which the same probability of being looked at held."""

    probability: float
    rows: int
    """All of them, looked at or not."""
    n: int
    """Those with a verdict."""
    right: int

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1 or not 0 <= self.right <= self.n <= self.rows:
            raise InvalidRequest(
                f"A group of {self.right} right of {self.n} of {self.rows} rows at probability {self.probability} cannot be: count rows, "
                "verdicts and right ones of the same answers, and give the probability that was recorded at the draw."
            )


def quality_of(source: Source, groups: Sequence[Group], level: float = LEVEL) -> Quality | None:
    """The quality of all rows of the groups, from verdicts that are right or wrong; None where none was looked at."""
    held = [group for group in groups if group.rows]
    n, rows = sum(group.n for group in held), sum(group.rows for group in held)
    if not n:
        return None
    delta = (1 - level) / 2
    low = stratified_lower([Stratum(group.rows / rows, group.right, group.n) for group in held], delta)
    high = 1 - stratified_lower([Stratum(group.rows / rows, group.n - group.right, group.n) for group in held], delta)
    looked = [group for group in held if group.n]
    value = sum(group.rows * group.right / group.n for group in looked) / sum(group.rows for group in looked)
    unseen = rows - sum(group.rows for group in looked)
    note = f"{unseen:,} of {rows:,} rows were never looked at, and may be anything" if unseen else ""
    return _quality(source, value, low, high, n, note)


def of_reference(n: int) -> Quality:
    """The agreement of the reference with itself; `n` of its answers, none of which had to be looked at."""
    return Quality("agreement", 1.0, 1.0, 1.0, n, ITSELF)


def together(parts: Sequence[tuple[float, Quality]]) -> Quality | None:
    """The quality of answers of several models, by the share that each gave; None where the sources differ or nothing is given.

    The ends are weighted sums of the parts' ends: they hold where all parts' do.
    """
    whole = sum(share for share, _ in parts)
    sources = {one.source for _, one in parts}
    if whole <= 0 or len(sources) != 1:
        return None
    low, value, high = (
        sum(share * end for share, end in zip((share for share, _ in parts), ends, strict=True)) / whole
        for ends in zip(*((one.low, one.value, one.high) for _, one in parts), strict=True)
    )
    note = f"put together from {len(parts)} models" if len(parts) > 1 else ""
    return _quality(sources.pop(), value, low, high, sum(one.n for _, one in parts if one.note != ITSELF), note)


def difference(ours: Quality, theirs: Quality) -> Interval | None:
    """By how much ours is above theirs, at the worst and at the best; None where their sources differ."""
    if ours.source != theirs.source:
        return None
    return Interval(ours.low - theirs.high, ours.high - theirs.low)


def _quality(source: Source, value: float, low: float, high: float, n: int, note: str) -> Quality:
    """A quality whose estimate lies within its ends, whatever rounding did."""
    low, high = max(0.0, min(low, 1.0)), min(1.0, max(high, 0.0))
    return Quality(source, min(max(value, low), high), low, max(low, high), n, note)
