"""Fits the heads of a specialist, on CPU; within `one_thread` the same rows give the same numbers, whatever the machine's cores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest
from orchestrator.learned.encoder import Vectors
from orchestrator.learned.heads import centred, kernel
from orchestrator.learned.ngrams import Floats, NGrams
from orchestrator.learned.terms import char_terms, word_terms

MOST_WORDS: Final = 20_000
MOST_CHARS: Final = 30_000
MOST_WEIGHTS: Final = 20_000_000
"""Terms times labels: what bounds the model to 80 MB and its training to minutes."""
PRUNE_FROM_ROWS: Final = 2_000
"""From so many rows on, terms that stand in a single text are left out."""
MARGIN_COST: Final = 0.5
MARGIN_TOLERANCE: Final = 1e-2
KERNEL_RIDGE: Final = 0.2
MOST_KEPT: Final = 8_000
"""Learned texts whose vectors are kept. Up to here the kernel is exact; beyond it these stand for all."""
_KERNEL_WORK: Final = 2e11
_STEADY: Final = 1e-3
"""Added to each landmark's likeness with itself, which is 1: texts that are nearly the same stay apart in single precision too."""
_ROWS_AT_ONCE: Final = 4_096
_ABSENT: Final = -3.0
"""What the n-grams say for a label that has no row to learn from, where -1 is a plain no."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be learned of each text: its label, or one field of it."""

    name: str | None
    labels: tuple[str, ...]
    numbers: NDArray[np.int32]
    """Of each row: its label's place among the labels."""

    def of(self, rows: NDArray[np.int64]) -> Target:
        """The same for some of the rows."""
        return Target(self.name, self.labels, self.numbers[rows])


@dataclass(frozen=True, slots=True)
class Fitted:
    """Heads that were fitted: what all targets share, and the numbers of each."""

    ngrams: NGrams
    centre: Vectors | None
    prototypes: Vectors | None
    arrays: list[dict[str, NDArray[Any]]]


def fit_heads(texts: Sequence[str], vectors: Vectors | None, targets: Sequence[Target]) -> Fitted:
    """Fit all heads on all rows given; `vectors` are the texts' own, without which there is only the head of n-grams."""
    most = max(1_000, MOST_WEIGHTS // max(1, sum(len(target.labels) for target in targets)))
    prune = 2 if len(texts) >= PRUNE_FROM_ROWS else 1
    words, word_idf, word_rows = _terms(texts, word_terms, min(MOST_WORDS, most * 2 // 5), prune)
    chars, char_idf, char_rows = _terms(texts, char_terms, min(MOST_CHARS, most * 3 // 5), prune)
    if not words and not chars:
        raise InvalidRequest("The texts have no words or characters to learn from. Is it the right column?")
    from scipy.sparse import hstack

    rows = hstack([word_rows, char_rows], format="csr", dtype=np.float32)
    arrays = [_margins(rows, target) for target in targets]
    ngrams = NGrams(words, chars, word_idf, char_idf)
    if vectors is None:
        return Fitted(ngrams, None, None, arrays)
    centre = vectors.mean(axis=0, dtype=np.float32)
    # In the precision in which they are kept on disk, so that what is scored now is scored the same ever after.
    own = centred(vectors, centre).astype(np.float16).astype(np.float32)
    kept = _kept(len(texts))
    for target, found, coef in zip(targets, arrays, _kernels(own, kept, targets), strict=True):
        found |= {"kernel_coef": coef, "neighbour_labels": target.numbers[kept]}
    return Fitted(ngrams, centre, own[kept], arrays)


def _terms(
    texts: Sequence[str], analyse: Callable[[str], list[str]], most: int, prune: int
) -> tuple[list[str], Any, Any]:
    """The vocabulary of one kind of term, its inverse document frequencies, and the rows as a sparse matrix."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(analyzer=analyse, max_features=most, min_df=prune, sublinear_tf=True, dtype=np.float32)
    try:
        rows = vectoriser.fit_transform(texts)
    except ValueError:  # not one term: what it says for texts that are all punctuation, or all different
        return [], np.zeros(0, np.float32), csr_matrix((len(texts), 0), dtype=np.float32)
    return [str(term) for term in vectoriser.get_feature_names_out()], vectoriser.idf_.astype(np.float32), rows


def _margins(rows: Any, target: Target) -> dict[str, NDArray[Any]]:
    """The linear layer of n-grams: a support vector machine for each label against the rest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    count = len(target.labels)
    coef = np.zeros((rows.shape[1], count), np.float32)
    intercept = np.full(count, _ABSENT, np.float32)
    present = np.unique(target.numbers)
    if len(present) == 1:
        intercept[present] = 1.0
        return {"terms_coef": coef, "terms_intercept": intercept}
    model = LinearSVC(C=MARGIN_COST, tol=MARGIN_TOLERANCE, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its steps are bounded on purpose
        model.fit(rows, target.numbers)
    weights, constants = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn keeps one layer for two labels, that of the second
        weights, constants = np.vstack([-weights, weights]), np.concatenate([-constants, constants])
    coef[:, present], intercept[present] = weights.T, constants
    return {"terms_coef": coef, "terms_intercept": intercept}


def _kept(rows: int) -> NDArray[np.int64]:
    """The rows whose vectors are kept: all, or as many of them, evenly spread, as the work of a fit allows."""
    if rows <= MOST_KEPT:
        return np.arange(rows)
    return np.unique(np.linspace(0, rows - 1, int((_KERNEL_WORK / rows) ** 0.5)).astype(np.int64))


def _kernels(own: Vectors, kept: NDArray[np.int64], targets: Sequence[Target]) -> list[Floats]:
    """Kernel ridge regression on each label, one factorisation for all targets: how much say each kept text has for each label."""
    from scipy.linalg import cho_factor, cho_solve

    wanted = np.concatenate([_one_of(target) for target in targets], axis=1)
    if len(kept) == len(own):
        matrix = kernel(own @ own.T)
        matrix[np.diag_indices(len(matrix))] += KERNEL_RIDGE
        solved = cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), wanted, check_finite=False)
    else:
        solved = _of_landmarks(own, own[kept], wanted)
    ends = np.cumsum([len(target.labels) for target in targets])
    return [np.ascontiguousarray(part.T, dtype=np.float32) for part in np.split(solved, ends[:-1], axis=1)]


def _of_landmarks(own: Vectors, landmarks: Vectors, wanted: Floats) -> NDArray[np.float64]:
    """Kernel ridge regression where some texts, the landmarks, stand for all: least squares over every row (Nyström).

    Solved in the landmarks' own coordinates, in which nothing is squared but numbers of the ridge's size: the normal equations of texts
    that are alike lose, even in double precision, what makes them solvable.
    """
    from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

    among = kernel(landmarks @ landmarks.T).astype(np.float64)
    among[np.diag_indices(len(among))] += _STEADY
    lower = cholesky(among, lower=True, overwrite_a=True, check_finite=False)
    matrix = np.zeros_like(among)
    matrix[np.diag_indices(len(matrix))] = KERNEL_RIDGE
    right = np.zeros((len(landmarks), wanted.shape[1]))
    for first in range(0, len(own), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        across = kernel(landmarks @ own[rows].T).astype(np.float64)
        seen = solve_triangular(lower, across, lower=True, overwrite_b=True, check_finite=False)
        matrix += seen @ seen.T
        right += seen @ wanted[rows]
    solved = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False), right, check_finite=False)
    return np.asarray(solve_triangular(lower, solved, lower=True, trans="T", check_finite=False))


def _one_of(target: Target) -> Floats:
    """A 1 at each row's label, less what all labels alike would have."""
    count = len(target.labels)
    return np.asarray(np.eye(count, dtype=np.float32)[target.numbers] - np.float32(1 / count), np.float32)
