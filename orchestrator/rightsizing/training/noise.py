"""Finds labels that look wrong, by what models say of rows that they were not fitted on. Pure.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021): a row
is suspected where another label is as likely for it as that label usually is for the rows that bear it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label looks wrong."""

    row: int
    """Its number in the file, from 1, the header not counted."""
    given: str
    said: str
    """The label that it looks like."""
    confidence: float
    """The probability of that label, by models that never saw the row."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it. The text itself stays out of records."""
        return {"row": self.row, "given": self.given, "said": self.said, "confidence": round(self.confidence, 4)}


def suspects(
    probabilities: NDArray[np.float32], given: Sequence[int], labels: Sequence[str], rows: Sequence[int]
) -> list[Suspect]:
    """Rows whose label looks wrong, the surest first.

    `probabilities` are cross-fitted, shape (rows, labels); `given` are label numbers, and `rows` the rows' numbers in the file, from 1.
    """
    own = np.asarray(given)
    usual = np.full(len(labels), np.inf)
    for label in np.unique(own):
        usual[label] = probabilities[own == label, label].mean()
    likely = np.where(probabilities >= usual, probabilities, 0.0)
    said = likely.argmax(axis=1)
    sure = likely[np.arange(len(own)), said]
    found = np.flatnonzero((said != own) & (sure > 0) & (sure > probabilities[np.arange(len(own)), own]))
    order = found[np.argsort(-sure[found], kind="stable")]
    return [Suspect(rows[at], labels[own[at]], labels[said[at]], float(sure[at])) for at in order]
