"""What a specialist says of a text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label, and what is known of how right it is."""

    label: str
    """For several fields the JSON object of their values."""
    confidence: float
    """The calibrated probability of the label among the labels."""
    in_scope: float
    """The share of the learned texts that were further from the others than this one is: near 0 for a text of another kind."""
    score: float
    """By which the answer is accepted: the probability that it is right, and 0 out of scope."""
