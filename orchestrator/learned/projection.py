"""Texts as weighted terms, and what those come to by a matrix: one pass over the terms of all texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.terms import char_terms

Floats = NDArray[np.float32]

MOST_CHARS: Final = 20_000
"""Of a text: what comes after them is not read, so that no text takes long."""
_SIGN: Final = re.compile(r"\w+|[^\w\s]")
_AT_ONCE: Final = 1 << 20
"""Numbers of one product, at most, unless a single text needs more: 4 MB, which stay in the processor's cache."""


def sign_terms(text: str) -> list[str]:
    """Words, numbers and single signs, in lower case, and every two that stand together: formulas have their say too."""
    signs = _SIGN.findall(text[:MOST_CHARS].lower())
    return signs + [f"{first} {second}" for first, second in pairwise(signs)]


def run_terms(text: str) -> list[str]:
    """Runs of 3 to 5 characters within words."""
    return char_terms(text[:MOST_CHARS])


KINDS: Final[dict[str, Callable[[str], list[str]]]] = {"signs": sign_terms, "runs": run_terms}


class Projection:
    """The TF-IDF of each text's known terms, of length 1, times a matrix [terms, columns]. Never changed once made."""

    __slots__ = ("_analyse", "_place", "idf", "kind", "matrix", "terms")

    def __init__(self, kind: str, terms: Sequence[str], idf: Floats, matrix: Floats) -> None:
        if kind not in KINDS or idf.shape != (len(terms),) or matrix.ndim != 2 or len(matrix) != len(terms):
            raise ValueError(f"the numbers of the {kind[:20]} do not fit their terms")
        if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in (idf, matrix)):
            raise ValueError(f"the numbers of the {kind} are of the wrong kind")
        self.kind, self.terms, self.idf, self.matrix = kind, tuple(terms), idf, matrix
        self._analyse = KINDS[kind]
        self._place = {term: at for at, term in enumerate(terms)}

    def of(self, texts: Sequence[str]) -> Floats:
        """The product for each text: [texts, columns]. A text's does not depend on its neighbours."""
        found = [[at for at in map(self._place.get, self._analyse(text)) if at is not None] for text in texts]
        product = np.zeros((len(texts), self.matrix.shape[1]), np.float32)
        row, term, counts = _counted(found, len(self.terms))
        if not len(row):
            return product
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        ends = np.append(starts[1:], len(row))
        weights = (1 + np.log(counts.astype(np.float32))) * self.idf[term]
        weights /= np.repeat(np.sqrt(np.add.reduceat(weights * weights, starts)), ends - starts)
        most, first = max(1, _AT_ONCE // max(1, self.matrix.shape[1])), 0
        while first < len(starts):  # whole texts at a time, as many as keep the product small
            last = max(first + 1, int(np.searchsorted(ends, starts[first] + most, side="right")))
            low, high = starts[first], ends[last - 1]
            part = weights[low:high, None] * self.matrix[term[low:high]]
            product[row[starts[first:last]]] = np.add.reduceat(part, starts[first:last] - low, axis=0)
            first = last
        return product


def _counted(found: Sequence[Sequence[int]], size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Text, term and how often, for every pair that there is, by text."""
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    flat = np.fromiter(chain.from_iterable(found), np.int64, int(lengths.sum()))
    flat += np.repeat(np.arange(len(found)) * size, lengths)
    pairs, counts = np.unique(flat, return_counts=True)
    row, term = np.divmod(pairs, size) if size else (pairs, pairs)
    return row, term, counts
