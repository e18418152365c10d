"""Texts as weighted terms, and what those come to by a matrix: one pass over the terms of all texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.shape import MOST_CHARS, parts_of

Floats = NDArray[np.float32]

_SIGN: Final = re.compile(r"\w+|[^\w\s]")
_FIRST_WORDS: Final = 3
_AT_ONCE: Final = 1 << 20
"""Numbers of one product, at most, unless a single text needs more: 4 MB, which stay in the processor's cache."""


def sign_terms(text: str) -> set[str]:
    """Words, numbers and single signs, in lower case, and every two that stand together: formulas have their say too.

    Those of the last sentence, of the answers that are offered and of the beginning stand once more, marked as such.
    """
    parts = parts_of(text)
    signs, last, offered = (
        _SIGN.findall(part.lower()) for part in (text[:MOST_CHARS], parts.last, "\n".join(parts.offered))
    )
    first = _SIGN.findall(parts.asked[:200].lower())[:_FIRST_WORDS]
    return {
        *signs,
        *_pairs(signs),
        *(f"last:{term}" for term in (*last, *_pairs(last))),
        *(f"offered:{term}" for term in offered),
        *(f"first:{' '.join(first[: count + 1])}" for count in range(len(first))),
    }


def _pairs(signs: Sequence[str]) -> list[str]:
    return [f"{first} {second}" for first, second in pairwise(signs)]


class Projection:
    """The inverse frequencies of each text's known `sign_terms`, of length 1, times a matrix [terms, columns]. Never changed once made."""

    __slots__ = ("_place", "idf", "matrix", "terms")

    def __init__(self, terms: Sequence[str], idf: Floats, matrix: Floats) -> None:
        if idf.shape != (len(terms),) or matrix.ndim != 2 or len(matrix) != len(terms):
            raise ValueError("the numbers do not fit their terms")
        if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in (idf, matrix)):
            raise ValueError("the terms' numbers are of the wrong kind")
        self.terms, self.idf, self.matrix = tuple(terms), idf, matrix
        self._place = {term: at for at, term in enumerate(terms)}

    def of(self, texts: Sequence[str]) -> Floats:
        """The product for each text: [texts, columns]. A text's does not depend on its neighbours."""
        found = [sorted(at for at in map(self._place.get, sign_terms(text)) if at is not None) for text in texts]
        product = np.zeros((len(texts), self.matrix.shape[1]), np.float32)
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        filled = np.flatnonzero(lengths)
        if not len(filled):
            return product
        term = np.fromiter(chain.from_iterable(found), np.int64, int(lengths.sum()))
        ends = np.cumsum(lengths[filled])
        starts = ends - lengths[filled]
        weights = self.idf[term]
        weights /= np.repeat(np.sqrt(np.add.reduceat(weights * weights, starts)), lengths[filled])
        most, first = max(1, _AT_ONCE // max(1, self.matrix.shape[1])), 0
        while first < len(starts):  # whole texts at a time, as many as keep the product small
            last = max(first + 1, int(np.searchsorted(ends, starts[first] + most, side="right")))
            low, high = starts[first], ends[last - 1]
            part = weights[low:high, None] * self.matrix[term[low:high]]
            product[filled[first:last]] = np.add.reduceat(part, starts[first:last] - low, axis=0)
            first = last
        return product
