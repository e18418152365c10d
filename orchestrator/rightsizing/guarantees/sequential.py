"""A watch over a specialist in service: a test of "its quality is at least the target" that may be looked at after every audit.

A bet against the specialist is opened at every audit, so that a fall shows soon however long all was well before: a test of the whole
history would have to lose its good record first. Only the sum of all bets is kept, so that an audit costs the same after a million
others. The proof is in docs/guarantees.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from orchestrator.errors import Broken, InvalidRequest

ODDS: Final = (1.5, 2.0, 3.0, 6.0, 20.0)
"""How many times as high the odds of a wrong answer may have become: a bet is split evenly over these."""
FORMAT: Final = 1
"""Of a stored watch. Another choice of ODDS or of `unopened` is another format: a running bet cannot change its terms."""
_SCALE: Final = 1_000.0
_MOST: Final = 1e200
"""A capital that would be more is kept as this: long since enough, and no float overflows."""


@dataclass(slots=True)
class Watch:
    """The test as it stands: give it every audit in the order in which they were drawn, and ask whether it `demotes`.

    Within one stage no verdict needs a weight, though the probability to be drawn may change with time: each draw is a coin of its own,
    set before the answers are known and the same for all jobs of its moment, so that a verdict is right with the quality of the answers
    given at that moment. A probability that depended on the job itself (its score, its text) would break this.
    """

    target: float
    delta: float
    seen: int = 0
    """Audits so far."""
    wrong: int = 0
    """How many of them were wrong, or stayed missing."""
    peak: float = 1.0
    """The largest that `e_value` ever was."""
    capitals: list[float] = field(default_factory=lambda: [0.0] * len(ODDS))
    """Of all bets opened so far, for each of ODDS."""

    def __post_init__(self) -> None:
        if not 0.0 < self.target < 1.0:
            raise InvalidRequest(
                f"The target is {self.target}, and must lie between 0 and 1. Use 0.98 for 98%.", param="target"
            )
        if not 0.0 < self.delta < 0.5:
            raise InvalidRequest(
                f"delta is {self.delta}, and must lie between 0 and 0.5. Use 0.05 for 5%.", param="delta"
            )

    def add(self, right: bool) -> Self:
        """Count one audit; gives the watch itself."""
        opened = (unopened(self.seen) - unopened(self.seen + 1)) / len(ODDS)
        gains = factors(self.target, right)
        self.capitals = [min(_MOST, (had + opened) * gain) for had, gain in zip(self.capitals, gains, strict=True)]
        self.seen += 1
        self.wrong += not right
        self.peak = max(self.peak, self.e_value)
        return self

    @property
    def e_value(self) -> float:
        """What a capital of 1 has become. At a quality of the target or more it is 1/delta or more ever with a chance of delta at most."""
        return sum(self.capitals) + unopened(self.seen)

    @property
    def demotes(self) -> bool:
        """Whether the quality is below the target, but for a chance of delta; once it is shown, it stays so."""
        return self.peak >= 1.0 / self.delta

    @property
    def told(self) -> str:
        """How it stands, in a sentence."""
        return (
            f"{self.wrong:,} of {self.seen:,} audits are wrong, with {100 * self.target:g}% asked to be right; the evidence against that "
            f"reached {min(self.peak, 1e6):,.1f}, and {1.0 / self.delta:g} demotes."
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it: `from_dict` makes the same watch of it, to the last digit."""
        return {
            "format": FORMAT,
            "target": self.target,
            "delta": self.delta,
            "seen": self.seen,
            "wrong": self.wrong,
            "peak": self.peak,
            "capitals": list(self.capitals),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """The watch that was kept; raises Broken for what none of ours has written."""
        try:
            capitals = [float(one) for one in kept["capitals"]]
            numbers = [float(kept[name]) for name in ("target", "delta", "peak")]
            seen, wrong = int(kept["seen"]), int(kept["wrong"])
            sound = len(capitals) == len(ODDS) and all(0.0 <= one < math.inf for one in [*capitals, *numbers])
            if kept["format"] != FORMAT or not sound or not 0 <= wrong <= seen:
                raise ValueError("its numbers do not fit together")
            target, delta, peak = numbers
            return cls(target, delta, seen, wrong, peak, capitals)
        except (KeyError, TypeError, ValueError, InvalidRequest) as error:
            raise Broken(
                f"A stored watch over a specialist cannot be read ({error}). Promote the task again: that begins a new one."
            ) from None


def unopened(audits: int) -> float:
    """The part of the capital that is not bet yet after so many audits: what is opened at each adds up to 1 over any lifetime."""
    return 1.0 / math.sqrt(1.0 + audits / _SCALE)


def factors(target: float, right: bool) -> list[float]:
    """By how much an audit multiplies the capital, for each of ODDS: how much likelier the verdict is at the worse quality."""
    qualities = [target / (target + odds * (1.0 - target)) for odds in ODDS]
    return [quality / target if right else (1.0 - quality) / (1.0 - target) for quality in qualities]
