"""Fits the parts of a router that look at a prompt, each on some rows of one table, so that it can be asked about the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.projection import Floats, Projection, sign_terms
from orchestrator.learned.router import TOPIC_WEIGHT, closeness, places, tree_rows
from orchestrator.learned.shape import shapes
from orchestrator.learned.trees import ARRAYS, Trees

Rows = NDArray[np.int64]

TOPICS: Final = 30
"""Directions in which prompts differ most by their words and signs: what is learned of a subject."""
OPTIONS: Final[dict[str, Any]] = {
    "most_terms": 200_000,
    "least_texts": 2,
    "ridge": {"signs": 10.0, "near": 4.0, "vector": 3.0},
    "tolerance": 1e-2,
    "iterations": 200,
    "topics": TOPICS,
    "landmarks": 1_000,
    "shape_weight": 0.2,
    "trees": 100,
    "rate": 0.05,
    "leaves": 16,
    "leaf_rows": 50,
    "shrink": 5.0,
}
"""Chosen on folds of RouteLLM's MMLU outcomes, see docs/router.md; the same for every table of outcomes."""

_STEADY: Final = 1e-3
"""Added to the diagonal: landmarks may lie on one another."""
_ROWS_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Table:
    """What all heads need of the prompts, made once: counts of terms, shapes, vectors."""

    counts: Any
    """Sparse counts [prompts, terms]."""
    terms: list[str]
    shapes: NDArray[np.float64]
    vectors: Floats | None

    @classmethod
    def of(cls, prompts: Sequence[str], vectors: Floats | None) -> Table:
        """Count the terms of all prompts: which of them are known is decided on the rows that are fitted."""
        from sklearn.feature_extraction.text import CountVectorizer

        vectoriser = CountVectorizer(analyzer=sign_terms, dtype=np.float32)
        counts = vectoriser.fit_transform(prompts)
        counts.sort_indices()  # sums run in this order, which else hangs on how a process hashes its texts
        return cls(counts, [str(term) for term in vectoriser.get_feature_names_out()], shapes(prompts), vectors)


@dataclass(frozen=True, slots=True)
class Heads:
    """The parts of a router, fitted on some rows."""

    signs: Projection
    intercepts: dict[str, Floats]
    arrays: dict[str, Floats]
    """Of `near`, and of `vector` where there are vectors; as `Router` has them."""
    trees: Trees
    kept: Rows
    """The table's terms that `signs` knows."""


def fit_heads(table: Table, values: Floats, rows: Rows, seed: int) -> Heads:
    """Fit each head on these rows alone: what a term is worth, and which topics there are, no other row has a say in."""
    kept, idf = _vocabulary(table, rows)
    weighted = _weighted(table.counts[rows][:, kept], idf)
    coefficients, intercept = _ridge(weighted, values[rows], OPTIONS["ridge"]["signs"])
    topics = _topics(weighted, seed)
    matrix = np.ascontiguousarray(np.hstack([coefficients, topics]), np.float32)
    shape, found = table.shapes[rows], np.asarray(weighted @ topics)
    arrays, near = _near(shape, found, values[rows], seed)
    intercepts = {"signs": intercept, "near": near}
    if table.vectors is not None:
        arrays["vector"], intercepts["vector"] = _ridge(table.vectors[rows], values[rows], OPTIONS["ridge"]["vector"])
    trees = _trees(tree_rows(shape, found), values[rows], seed)
    return Heads(Projection([table.terms[at] for at in kept], idf, matrix), intercepts, arrays, trees, kept)


def ask_heads(heads: Heads, table: Table, rows: Rows, models: int) -> dict[str, Floats]:
    """What each head says of these rows: as `Router.heads` does, from the table's counts."""
    weighted = _weighted(table.counts[rows][:, heads.kept], heads.signs.idf)
    signs = np.asarray(weighted @ heads.signs.matrix)
    found = {"signs": signs[:, :models] + heads.intercepts["signs"]}
    close = closeness(places(table.shapes[rows], signs[:, models:], heads.arrays), heads.arrays["landmarks"])
    found["near"] = close @ heads.arrays["near"] + heads.intercepts["near"]
    if table.vectors is not None:
        found["vector"] = table.vectors[rows] @ heads.arrays["vector"] + heads.intercepts["vector"]
    sums = heads.trees.predict(tree_rows(table.shapes[rows], signs[:, models:]))
    found["trees"] = (sums[:, :1] + sums[:, 1:]).astype(np.float32)
    return found


def _vocabulary(table: Table, rows: Rows) -> tuple[Rows, Floats]:
    """The terms that stand in enough of these rows, the commonest if there are too many, with their inverse frequencies."""
    found = np.asarray((table.counts[rows] > 0).sum(axis=0)).ravel()
    least = min(OPTIONS["least_texts"], found.max())  # prompts that have no term in common keep their own
    kept = np.flatnonzero(found >= least)
    if len(kept) > OPTIONS["most_terms"]:
        kept = np.sort(kept[np.argsort(-found[kept], kind="stable")[: OPTIONS["most_terms"]]])
    return kept, (np.log((1 + len(rows)) / (1 + found[kept])) + 1).astype(np.float32)


def _weighted(counts: Any, idf: Floats) -> Any:
    """Inverse frequencies of length 1, as `Projection` has them: how often a term stands in a prompt does not count."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    weighted = csr_matrix(counts, dtype=np.float32, copy=True)
    weighted.data = idf[weighted.indices]
    return normalize(weighted, copy=False)


def _near(shape: NDArray[np.float64], topics: Floats, values: Floats, seed: int) -> tuple[dict[str, Floats], Floats]:
    """Kernel ridge regression on some of the rows as landmarks (Nyström): what came of prompts that are near."""
    from scipy.linalg import solve

    spread = shape.std(axis=0)
    weight = TOPIC_WEIGHT * OPTIONS["shape_weight"] / np.where(spread > 0, spread, np.inf)
    arrays: dict[str, Floats] = {"centre": shape.mean(axis=0).astype(np.float32), "scale": weight.astype(np.float32)}
    where = places(shape, topics, arrays)
    landmarks = where[np.sort(np.random.default_rng(seed).permutation(len(where))[: OPTIONS["landmarks"]])]
    mean = values.mean(axis=0)
    left = OPTIONS["ridge"]["near"] * closeness(landmarks, landmarks).astype(np.float64)
    left += _STEADY * np.eye(len(landmarks))
    right = np.zeros((len(landmarks), len(mean)))
    for first in range(0, len(where), _ROWS_AT_ONCE):
        close = closeness(where[first : first + _ROWS_AT_ONCE], landmarks).astype(np.float64)
        left += close.T @ close
        right += close.T @ (values[first : first + _ROWS_AT_ONCE] - mean)
    arrays |= {"landmarks": landmarks, "near": solve(left, right, assume_a="pos").astype(np.float32)}
    return arrays, np.asarray(mean, np.float32)


def _ridge(rows: Any, values: Floats, shrink: float) -> tuple[Floats, Floats]:
    """Least squares with a penalty, for all models by the same features: so the models' difference is fitted by it too."""
    from sklearn.linear_model import Ridge

    sparse = not isinstance(rows, np.ndarray)
    model = Ridge(
        alpha=shrink,
        solver="sparse_cg" if sparse else "cholesky",
        tol=OPTIONS["tolerance"],
        max_iter=OPTIONS["iterations"],
    ).fit(rows, values)
    return np.ascontiguousarray(model.coef_.T, np.float32), np.asarray(model.intercept_, np.float32)


def _topics(weighted: Any, seed: int) -> Floats:
    from sklearn.utils.extmath import randomized_svd

    most = min(TOPICS, min(weighted.shape) - 1)
    if most < 1:
        return np.zeros((weighted.shape[1], 0), np.float32)
    _, _, directions = randomized_svd(weighted, most, n_oversamples=20, n_iter=2, random_state=seed)
    return np.asarray(directions.T, np.float32)


def _trees(features: NDArray[np.float64], values: Floats, seed: int) -> Trees:
    """Boosted trees for how well all models do on the whole, and for how far each is above or below that."""
    mean = values.mean(axis=1)
    targets = [mean, *(values[:, at] - mean for at in range(values.shape[1]))]
    parts = [_boosted(features, target, seed) for target in targets]
    nodes = np.cumsum([0, *(len(part["value"]) for part, _ in parts)])
    joined = {name: np.concatenate([part[name] for part, _ in parts]) for name in ("feature", "threshold", "value")}
    for name in ("left", "right", "root"):
        joined[name] = np.concatenate([part[name] + first for (part, _), first in zip(parts, nodes, strict=False)])
    joined["output"] = np.repeat(np.arange(len(parts)), [len(part["root"]) for part, _ in parts])
    joined["base"] = np.array([base for _, base in parts], np.float64)
    return Trees({name: joined[name] for name in ARRAYS}, features.shape[1])


def _boosted(features: NDArray[np.float64], target: Floats, seed: int) -> tuple[dict[str, NDArray[Any]], float]:
    """The trees of one output as arrays, and what they begin with."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        max_iter=OPTIONS["trees"], learning_rate=OPTIONS["rate"], max_leaf_nodes=OPTIONS["leaves"], early_stopping=False,
        min_samples_leaf=min(OPTIONS["leaf_rows"], max(1, len(features) // 10)), l2_regularization=OPTIONS["shrink"],
        random_state=seed,
    ).fit(features, target)  # fmt: skip
    parts: list[dict[str, NDArray[Any]]] = []
    first = 0
    for (tree,) in model._predictors:  # noqa: SLF001 - scikit-learn shows its trees nowhere else; a test compares the answers
        nodes = tree.nodes
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        parts.append(
            {
                "feature": np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
                "threshold": np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
                "left": np.where(leaf, own, nodes["left"]).astype(np.int64) + first,
                "right": np.where(leaf, own, nodes["right"]).astype(np.int64) + first,
                "value": np.where(leaf, nodes["value"], 0.0).astype(np.float64),
                "root": np.array([first], np.int64),
            }
        )
        first += len(nodes)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined, float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001 - as above
