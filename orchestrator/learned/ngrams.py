"""TF-IDF of words and of runs of characters, as numbers of a linear layer: what a text's terms say for each label.

A text's numbers do not depend on its neighbours, to the last bit, and nothing here calls a library that starts threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.terms import char_terms, word_terms

Floats = NDArray[np.float32]

_AT_ONCE: Final = 1 << 20
"""Numbers of one product, at most, unless a single text needs more: 4 MB, which stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Found:
    """The weighted terms of some texts, of one kind: (text, term) pairs in the order of the texts."""

    starts: NDArray[np.int64]
    """Where the pairs of each text that has some begin."""
    ends: NDArray[np.int64]
    row: NDArray[np.int64]
    term: NDArray[np.int64]
    """The term's row in a layer's weights."""
    weights: Floats


class NGrams:
    """The vocabulary with its inverse document frequencies. Never changed once made."""

    __slots__ = ("_blocks", "idf", "vocabularies")

    def __init__(self, words: Sequence[str], chars: Sequence[str], word_idf: Floats, char_idf: Floats) -> None:
        if word_idf.shape != (len(words),) or char_idf.shape != (len(chars),):
            raise ValueError("the numbers do not fit the words")
        self.vocabularies = (tuple(words), tuple(chars))
        self.idf = (word_idf, char_idf)
        places = ({term: at for at, term in enumerate(terms)} for terms in (words, chars))
        self._blocks = tuple(zip((word_terms, char_terms), places, (word_idf, char_idf), (0, len(words)), strict=True))

    @property
    def size(self) -> int:
        """How many terms there are."""
        return sum(map(len, self.vocabularies))

    def find(self, texts: Sequence[str]) -> tuple[list[Found], Floats]:
        """The known terms of each text, and the share of its runs of characters that are known: 0 for a text without any."""
        found: list[Found] = []
        known = np.zeros(len(texts), np.float32)
        for analyse, place, idf, offset in self._blocks:
            terms = [analyse(text) for text in texts]
            places = [_places(some, place) for some in terms]
            found.append(_weighted(places, idf, offset))
            known = np.array([len(p) / len(t) if t else 0.0 for p, t in zip(places, terms, strict=True)], np.float32)
        return found, known


def scores(found: Sequence[Found], coef: Floats, intercept: Floats, texts: int) -> Floats:
    """What the terms say for each label: shape (texts, labels)."""
    total = np.tile(intercept, (texts, 1))
    # Whole texts at a time, as many as keep the product small: it has a number for every pair and label.
    most = max(1, _AT_ONCE // len(intercept))
    for one in found:
        first = 0
        while first < len(one.starts):
            last = max(first + 1, int(np.searchsorted(one.ends, one.starts[first] + most, side="right")))
            low, high = one.starts[first], one.ends[last - 1]
            part = one.weights[low:high, None] * coef[one.term[low:high]]
            total[one.row[one.starts[first:last]]] += np.add.reduceat(part, one.starts[first:last] - low, axis=0)
            first = last
    return total


def _weighted(places: list[list[int]], idf: Floats, offset: int) -> Found:
    """Count the terms of all texts in one pass, weigh them, and bring each text's weights to length 1."""
    size = max(1, len(idf))
    lengths = np.fromiter(map(len, places), np.int64, len(places))
    flat = np.fromiter(chain.from_iterable(places), np.int64, int(lengths.sum()))
    flat += np.repeat(np.arange(len(places)) * size, lengths)
    pairs, counts = np.unique(flat, return_counts=True)
    row, term = np.divmod(pairs, size)
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    ends = np.append(starts[1:], len(row)) if len(row) else starts
    weights = (1 + np.log(counts.astype(np.float32))) * idf[term]
    if len(row):
        norms = np.sqrt(np.add.reduceat(weights * weights, starts))
        weights /= np.repeat(norms, ends - starts)
    return Found(starts, ends, row, term + offset, weights)


def _places(terms: Sequence[str], place: dict[str, int]) -> list[int]:
    return [at for at in map(place.get, terms) if at is not None]
