"""Makes a specialist honest about itself: how much each head counts, and from which signs an answer is right.

Both are fitted on cross-fitted looks: what heads that were fitted without a row say of it. Few numbers are fitted, on all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.classifier import Field, Specialist
from orchestrator.learned.encoder import Encoder, Vectors
from orchestrator.learned.heads import (
    SIGNS_OF_ALL,
    SIGNS_OF_TERMS,
    Looks,
    accept,
    familiarity,
    pool,
    signs,
    standardised,
)
from orchestrator.learned.ngrams import Floats
from orchestrator.rightsizing.training.fitting import Fitted, Target, fit_heads
from orchestrator.rightsizing.training.splits import folds_of

FOLDS: Final = 5
LEAST_ROWS: Final = 20
"""Below so many distinct texts nothing is calibrated: the record says so."""
START_TERMS: Final = (4.0,)
START_VECTORS: Final = (2.0, 6.0, 0.2)
"""Weights of the heads before any row has been looked at."""
_PENALTY: Final = 1e-3
_PRIOR_ROWS: Final = 10.0
"""A label counts as right as often as all are, as though so many rows more had said so."""
_AT_ONCE: Final = 256
_MOST_NUMBERS: Final = 20_000_000
_QUANTILES: Final = 1_000
_EVERYTHING_IS_FAMILIAR: Final = -1.0

Tell = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was learned of the heads of one target, and what they say together of each row that they had not seen."""

    arrays: dict[str, NDArray[Any]]
    pooled: Floats
    """Log probabilities: shape (rows, labels)."""
    score: Floats
    """The probability that the likeliest label is right."""
    right: NDArray[np.bool_]


def cross_fit(
    texts: Sequence[str],
    vectors: Vectors | None,
    targets: Sequence[Target],
    encoder: Encoder | None,
    seed: int,
    tell: Tell,
) -> tuple[list[Looks], Floats]:
    """What heads that never saw a row say of it, for each target, and how familiar each row is to the others."""
    kinds = list(zip(*(target.numbers.tolist() for target in targets), strict=True))
    folds = np.array(folds_of(kinds, FOLDS, seed))
    parts: list[list[Looks]] = [[] for _ in targets]
    order = [np.flatnonzero(folds == fold) for fold in range(FOLDS)]
    for fold, held in enumerate(order):
        tell(f"cross-fitting, part {fold + 1} of {FOLDS}", fold / FOLDS)
        learn = np.flatnonzero(folds != fold)
        some = [target.of(learn) for target in targets]
        fitted = fit_heads([texts[int(at)] for at in learn], None if vectors is None else vectors[learn], some)
        for found, looks in zip(parts, look(fitted, some, encoder, texts, vectors, held), strict=True):
            found.append(looks)
    back = np.argsort(np.concatenate(order), kind="stable")
    joined = [Looks.joined(found).of(back) for found in parts]
    first = joined[0]
    return joined, first.known if first.similarity is None else familiarity(first.similarity)


def look(
    fitted: Fitted, targets: Sequence[Target], encoder: Encoder | None, texts: Sequence[str], vectors: Vectors | None, rows: NDArray[np.int64]
) -> list[Looks]:  # fmt: skip
    """What fitted heads say of some rows, by the very code that serves them."""
    specialist = assemble(fitted, targets, [uncalibrated(target, fitted) for target in targets], everything(), encoder)
    parts: list[list[Looks]] = [[] for _ in targets]
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        seen = specialist.see([texts[int(at)] for at in some], None if vectors is None else vectors[some])
        for found, field in zip(parts, specialist.fields, strict=True):
            found.append(field.look(seen))
    return [Looks.joined(found) for found in parts]


def calibrate(looks: Looks, target: Target) -> Calibrated:
    """Fit the heads' weights, and the model of what is right, on cross-fitted looks."""
    weights = _weights(looks.heads, target.numbers)
    pooled = pool(looks.heads, weights)
    said = pooled.argmax(axis=1)
    right = said == target.numbers
    usual, by_label = _usual(said, right, len(target.labels))
    found = signs(looks, pooled, usual)
    mean, scale = found.mean(axis=0), np.maximum(found.std(axis=0), np.float32(1e-6))
    weights_of_signs = _logistic(standardised(found, mean, scale), right)
    arrays = {
        "pool": weights,
        "accept": weights_of_signs,
        "accept_mean": mean,
        "accept_scale": scale,
        "class_logit": by_label,
    }
    score = accept(found, weights_of_signs, mean, scale)
    return Calibrated(arrays, pooled, score, right)


def uncalibrated(target: Target, fitted: Fitted) -> dict[str, NDArray[Any]]:
    """Weights for heads of which nothing is known: the score is then the probability itself."""
    heads = START_TERMS if fitted.prototypes is None else START_VECTORS
    count = SIGNS_OF_TERMS if fitted.prototypes is None else SIGNS_OF_ALL
    first = np.zeros(count + 1, np.float32)
    first[0] = 1  # the first sign is the log odds of the likeliest label
    nothing, one = np.zeros(count, np.float32), np.ones(count, np.float32)
    usual = np.zeros(len(target.labels), np.float32)
    return {
        "pool": np.array(heads, np.float32),
        "accept": first,
        "accept_mean": nothing,
        "accept_scale": one,
        "class_logit": usual,
    }


def everything() -> Floats:
    """The scope of a specialist to which every text is familiar."""
    return np.array([_EVERYTHING_IS_FAMILIAR], np.float32)


def scope_of(familiar: Floats) -> Floats:
    """Sorted familiarities, as many as a specialist keeps."""
    return np.quantile(familiar, np.linspace(0, 1, min(_QUANTILES, len(familiar))), method="lower").astype(np.float32)


def places_of(familiar: Floats) -> tuple[float, ...]:
    """Of each row the share of the rows that are no more familiar, as `Prediction.in_scope` tells it of a new one."""
    return tuple((np.searchsorted(np.sort(familiar), familiar, side="right") / len(familiar)).tolist())


def assemble(
    fitted: Fitted, targets: Sequence[Target], calibrated: Sequence[dict[str, NDArray[Any]]], scope: Floats, encoder: Encoder | None
) -> Specialist:  # fmt: skip
    """A specialist of fitted heads and what was learned of them."""
    fields = [
        Field(target.name, target.labels, {**heads, **rest})
        for target, heads, rest in zip(targets, fitted.arrays, calibrated, strict=True)
    ]
    return Specialist(
        fields, fitted.ngrams, scope, encoder=None if fitted.prototypes is None else encoder, centre=fitted.centre, prototypes=fitted.prototypes
    )  # fmt: skip


def _weights(heads: Floats, numbers: NDArray[np.int32]) -> Floats:
    """The weights of the heads under which what came true was likeliest: a temperature for each, and how much it counts."""
    from scipy.optimize import minimize

    step = -(-heads.size // _MOST_NUMBERS)  # a few weights need no more rows than that
    numbers, parts = numbers[::step], heads[:, ::step].astype(np.float64)
    rows = np.arange(len(numbers))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = np.tensordot(weights, parts, axes=1)
        total -= total.max(axis=1, keepdims=True)
        odds = np.exp(total)
        sums = odds.sum(axis=1, keepdims=True)
        told = total[rows, numbers] - np.log(sums[:, 0])
        odds /= sums
        odds[rows, numbers] -= 1
        return -told.mean(), (parts * odds).sum(axis=(1, 2)) / len(rows)

    start = np.array(START_TERMS if len(parts) == 1 else START_VECTORS)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 100.0)] * len(start))
    return np.asarray(found.x, np.float32)


def _usual(said: NDArray[np.int64], right: NDArray[np.bool_], labels: int) -> tuple[Floats, Floats]:
    """The log odds that a said label is right: for each row by the other rows, and for each label by all."""
    base = min(max(right.mean(), 1e-3), 1 - 1e-3)
    times = np.bincount(said, minlength=labels)
    good = np.bincount(said, weights=right, minlength=labels)
    by_label = (good + _PRIOR_ROWS * base) / (times + _PRIOR_ROWS)
    others = (good[said] - right + _PRIOR_ROWS * base) / (times[said] - 1 + _PRIOR_ROWS)
    return _log_odds(others), _log_odds(by_label)


def _log_odds(shares: NDArray[np.float64]) -> Floats:
    return np.asarray(np.log(shares / (1 - shares)), np.float32)


def _logistic(found: Floats, right: NDArray[np.bool_]) -> Floats:
    """Logistic regression with a small penalty: the weights of the signs, and the constant last."""
    from scipy.optimize import minimize

    rows = np.column_stack([found.astype(np.float64), np.ones(len(found))])
    sign = np.where(right, 1.0, -1.0)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        level = sign * (rows @ weights)
        push = -sign / (1 + np.exp(np.clip(level, -500, 500)))
        penalty = np.append(weights[:-1], 0.0)
        return np.logaddexp(0, -level).mean() + _PENALTY * (penalty**2).sum(), rows.T @ push / len(
            rows
        ) + 2 * _PENALTY * penalty

    return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x, np.float32)
