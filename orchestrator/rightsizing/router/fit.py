"""Trains a router: heads on cross-fitted folds, their blend on what they said of rows they had not seen, then heads on all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest
from orchestrator.learned.encoder import Encoder
from orchestrator.learned.projection import Floats
from orchestrator.learned.router import HEADS, Router
from orchestrator.rightsizing.one_thread import one_thread
from orchestrator.rightsizing.router.heads import Heads, Table, ask_heads, fit_heads
from orchestrator.rightsizing.router.outcomes import MAX_PROMPT_CHARS, Outcomes

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the whole that is done (0 to 1)."""

FOLDS: Final = 5
LEAST_PROMPTS: Final = 100
"""Different prompts, below which what is learned is noise."""
LEAST_OF_A_KIND: Final = 10
"""Good and bad outcomes of each model."""
MOST_FITTED: Final = 50_000
"""Rows that are fitted; of more a sample is drawn, which costs little and bounds memory and time."""
MOST_FITTED_CHARS: Final = 30_000_000
"""Of all fitted prompts together, as far as they are read."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A router, and what it said of each row when it had not seen it."""

    router: Router
    cross: Floats
    """[rows, models]: probabilities by the heads of other folds."""


@one_thread()
def fit(
    outcomes: Outcomes,
    groups: NDArray[np.uint64],
    encoder: Encoder | None,
    *,
    seed: int = 0,
    tell: Progress | None = None,
) -> Fitted:
    """Train a router on complete outcomes; rows of one group are the same prompt, and never stand on both sides of a fold.

    It computes on one thread, so that the same rows give the same numbers, whatever the machine's cores. Raises InvalidRequest where the
    rows do not suffice.
    """
    told = tell or (lambda _step, _share: None)
    check(outcomes, groups)
    told("reading the prompts", 0.0)
    vectors = None if encoder is None else encoder.encode(outcomes.prompts)
    table = Table.of(outcomes.prompts, vectors)
    fold = folds(groups, FOLDS, seed)
    said: dict[str, Floats] = {}
    for number in range(FOLDS):
        told(f"fitting without part {number + 1} of {FOLDS}", 0.2 + 0.13 * number)
        learn, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        heads = fit_heads(table, outcomes.values, learn, seed)
        for name, found in ask_heads(heads, table, held, len(outcomes.models)).items():
            said.setdefault(name, np.zeros_like(outcomes.values))[held] = found
    blend = blend_of(said, outcomes.values)
    told("fitting on every row", 0.85)
    heads = fit_heads(table, outcomes.values, np.arange(len(outcomes.prompts)), seed)
    router = _router(outcomes.models, heads, blend, encoder)
    told("done", 1.0)
    return Fitted(router, router.blend(said))


def folds(groups: NDArray[np.uint64], count: int, seed: int) -> NDArray[np.int64]:
    """The part of each row: whole groups, drawn evenly."""
    names, of_row = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray(order[of_row] % count, np.int64)


def check(outcomes: Outcomes, groups: NDArray[np.uint64]) -> None:
    """Raise InvalidRequest, with what is missing, where a router cannot be learned from these rows."""
    known = len(outcomes.complete())
    if known < len(outcomes.prompts):
        raise InvalidRequest("A row without an outcome of every model cannot be learned from. Leave it out.")
    different = len(np.unique(groups))
    if different < LEAST_PROMPTS:
        raise InvalidRequest(
            f"A router needs at least {LEAST_PROMPTS} different prompts with an outcome of every model, and there are {different} to "
            f"learn from. Add {LEAST_PROMPTS - different} or more."
        )
    for at, prompt in enumerate(outcomes.prompts, start=1):
        if not prompt.strip() or len(prompt) > MAX_PROMPT_CHARS:
            raise InvalidRequest(
                f"Row {at} cannot be used: a prompt has 1 to {MAX_PROMPT_CHARS:,} characters that are not all blank."
            )
    for model, column in zip(outcomes.models, outcomes.values.T, strict=True):
        good = int((column >= 0.5).sum())
        if min(good, len(column) - good) < LEAST_OF_A_KIND:
            kind = "good" if good < LEAST_OF_A_KIND else "bad"
            raise InvalidRequest(
                f"{model} has fewer than {LEAST_OF_A_KIND} {kind} outcomes among {len(column):,}: when it does well cannot be learned "
                f"from that. Add rows, or leave it out with --ignore {model!r}."
            )


def blend_of(said: dict[str, Floats], values: Floats) -> dict[str, Floats]:
    """How much weight each head has, for the mean of the models and for their differences, and what is added for each model.

    Least squares with weights that are not negative, on rows that the heads had not seen: so the blend is calibrated as well.
    """
    centre = values.mean(axis=0)
    arrays = {"mean": np.zeros(len(HEADS), np.float32), "gap": np.zeros(len(HEADS), np.float32)}
    names = list(said)
    shown = {name: found - found.mean(axis=0) for name, found in said.items()}
    mean_of = [shown[name].mean(axis=1) for name in names]
    gap_of = [(shown[name] - shown[name].mean(axis=1, keepdims=True)).ravel() for name in names]
    wanted = values - centre
    mean = wanted.mean(axis=1)
    for part, columns, target in (
        ("mean", mean_of, mean),
        ("gap", gap_of, (wanted - mean[:, None]).ravel()),
    ):
        for name, weight in zip(names, _not_negative(np.stack(columns, axis=1), target), strict=True):
            arrays[part][HEADS.index(name)] = weight
    offset = centre.astype(np.float64)
    for name in names:
        means = said[name].mean(axis=0)
        at = HEADS.index(name)
        offset -= arrays["mean"][at] * means.mean() + arrays["gap"][at] * (means - means.mean())
    return {**arrays, "offset": offset.astype(np.float32)}


def _not_negative(columns: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """Least squares with weights of 0 or more."""
    from scipy.optimize import nnls

    weights, _ = nnls(columns.astype(np.float64), target.astype(np.float64))
    return np.asarray(weights, np.float64)


def _router(models: Sequence[str], heads: Heads, blend: dict[str, Floats], encoder: Encoder | None) -> Router:
    intercepts = np.zeros((len(HEADS), len(models)), np.float32)
    for name, found in heads.intercepts.items():
        intercepts[HEADS.index(name)] = found
    arrays = {**blend, **heads.arrays, "intercepts": intercepts}
    return Router(models, heads.signs, heads.trees, arrays, encoder)
