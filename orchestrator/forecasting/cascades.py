"""How much of a cascade is asked: which of its rows go on to the next model, by how often answers were not accepted so far. Pure.

Of a thousand rows whose answers are accepted nineteen times in twenty, fifty are counted for the next model as well, evenly spread: rows are
counted whole, so that a file of a million takes no more memory than one of ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PRIOR_SHARE: Final = 0.05
"""Of answers that are not accepted, before any were seen; `routing.REJECTED_SHARE` holds the same for a single request."""
PRIOR_SEEN: Final = 10
"""So many answers that guess is worth."""

Seen = Mapping[tuple[str | None, str], tuple[int, int]]
"""By task and model: answers that were not accepted, and all that were given."""


@dataclass(slots=True)
class GoingOn:
    """Says of one row after another whether its answer is one of those that are not accepted."""

    seen: Seen
    _owed: dict[tuple[str | None, str], float] = field(default_factory=dict)

    def share(self, task: str | None, model: str) -> float:
        """The share of answers that are not accepted: the mean of a beta distribution, after what was seen."""
        rejected, given = self.seen.get((task, model), (0, 0))
        return (rejected + PRIOR_SEEN * PRIOR_SHARE) / (given + PRIOR_SEEN)

    def goes_on(self, task: str | None, model: str) -> bool:
        """Whether the next row's answer is not accepted."""
        owed = self._owed.get((task, model), 0.5) + self.share(task, model)
        self._owed[task, model] = owed - (owed >= 1)
        return owed >= 1
