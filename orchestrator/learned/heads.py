"""The arithmetic of a specialist's heads: from similarities and terms to log probabilities, and from those to a score.

A text's numbers do not depend on its neighbours, to the last bit: no BLAS, which would start threads and round by how many rows there
are. Training uses these very functions, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.encoder import Vectors
from orchestrator.learned.ngrams import Floats, Found

Whole = NDArray[np.int32]

NEIGHBOURS: Final = 30
AGREE: Final = (3, 8, 20)
"""Of so many of the nearest texts, the share that has the said label is looked at."""
NEAREST: Final = 5
"""The mean similarity of so many nearest texts says how familiar a text is."""
GAMMA: Final = 1.0
"""The kernel is exp(gamma * (similarity - 1)): how fast the say of a learned text fades with its distance."""
HEADS: Final = ("terms", "kernel", "neighbours")
SIGNS_OF_TERMS, SIGNS_OF_ALL = 6, 13
"""How many signs there are with the head of terms alone, and with all three."""
_SHARPNESS: Final = 10.0
_SMOOTHING: Final = 1e-3
_MOST: Final = 30.0
_NOTHING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest learned texts of some texts, nearest first."""

    similarity: Floats
    """Shape (texts, at most 30)."""
    place: Whole
    """Their numbers among the learned texts that are kept."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the heads look at, of some texts."""

    texts: int
    found: Sequence[Found]
    known: Floats
    """The share of each text's runs of characters that were learned."""
    similarity: Floats | None
    """To each learned text that is kept: shape (texts, kept)."""
    nearest: Nearest | None

    @property
    def familiar(self) -> Floats:
        """How near each text is to what was learned."""
        return self.known if self.nearest is None else familiarity(self.nearest.similarity)


@dataclass(frozen=True, slots=True)
class Looks:
    """What the heads of one field say of some texts."""

    heads: Floats
    """Log probabilities: shape (heads, texts, labels)."""
    known: Floats
    near: Whole | None
    """The labels of the nearest learned texts, nearest first."""
    similarity: Floats | None
    """Of these."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several as one, in their order."""
        near = [one.near for one in parts if one.near is not None]
        similarity = [one.similarity for one in parts if one.similarity is not None]
        least = min((one.shape[1] for one in near), default=0)
        return cls(
            np.concatenate([one.heads for one in parts], axis=1),
            np.concatenate([one.known for one in parts]),
            np.concatenate([one[:, :least] for one in near]) if near else None,
            np.concatenate([one[:, :least] for one in similarity]) if similarity else None,
        )

    def of(self, rows: NDArray[np.int64]) -> Self:
        """Those of some of the texts, or of all in another order."""
        near, similarity = self.near, self.similarity
        return type(self)(
            self.heads[:, rows],
            self.known[rows],
            None if near is None else near[rows],
            None if similarity is None else similarity[rows],
        )


def centred(vectors: Vectors, centre: Vectors) -> Vectors:
    """Vectors seen from the middle of what was learned, brought to length 1: what all texts of a task share tells nothing."""
    moved = vectors - centre
    lengths = np.sqrt((moved * moved).sum(axis=1, keepdims=True))
    return np.asarray(moved / np.maximum(lengths, np.float32(_NOTHING)), np.float32)


def products(vectors: Vectors, others: Floats) -> Floats:
    """The product of each vector with each of the others."""
    return np.asarray(np.einsum("nd,od->no", vectors, others), np.float32)


def nearest(similarity: Floats) -> Nearest:
    """The nearest of all learned texts."""
    count = min(NEIGHBOURS, similarity.shape[1])
    some = np.argpartition(similarity, similarity.shape[1] - count, axis=1)[:, -count:]
    order = np.argsort(-np.take_along_axis(similarity, some, axis=1), axis=1, kind="stable")
    place = np.take_along_axis(some, order, axis=1)
    return Nearest(np.take_along_axis(similarity, place, axis=1), place.astype(np.int32))


def familiarity(similarity: Floats) -> Floats:
    """How near texts are to what was learned, by the similarity of their nearest, nearest first."""
    return np.asarray(similarity[:, :NEAREST].mean(axis=1, dtype=np.float32), np.float32)


def kernel(similarity: Floats) -> Floats:
    """How much say each learned text has, by its similarity."""
    return np.asarray(np.exp(np.float32(GAMMA) * (similarity - 1)), np.float32)


def kernel_scores(similarity: Floats, coef: Floats) -> Floats:
    """What the learned texts say for each label: shape (texts, labels). `coef` has the shape (labels, kept)."""
    return products(kernel(similarity), coef)


def neighbour_votes(similarity: Floats, near: Whole, count: int) -> Floats:
    """Log of the labels' shares among the nearest, the nearer ones counting more, and none of them zero."""
    weights = np.exp(_SHARPNESS * (similarity - 1))
    votes = np.zeros((len(weights), count), np.float32)
    np.add.at(votes, (np.arange(len(weights))[:, None], near), weights)
    votes /= votes.sum(axis=1, keepdims=True)
    return np.asarray(np.log(votes * (1 - _SMOOTHING) + _SMOOTHING / count), np.float32)


def log_softmax(numbers: Floats) -> Floats:
    """Numbers of each row as log probabilities."""
    moved = numbers - numbers.max(axis=1, keepdims=True)
    return np.asarray(moved - np.log(np.exp(moved).sum(axis=1, keepdims=True)), np.float32)


def pool(heads: Floats, weights: Floats) -> Floats:
    """Log probabilities of several heads as one: a weighted sum, normalised again."""
    total = heads[0] * weights[0]
    for head, weight in zip(heads[1:], weights[1:], strict=True):
        total = total + head * weight
    return log_softmax(total)


def signs(looks: Looks, pooled: Floats, usual: Floats) -> Floats:
    """What tells right answers from wrong ones: shape (texts, signs).

    The log odds of the likeliest label, its lead over the second and the second's over the third; each head's own lead for it; `usual`,
    the log odds that this label is right; how familiar the text is; and how many of the nearest texts have the label.
    """
    rows = np.arange(len(pooled))
    order = np.argsort(-pooled, axis=1, kind="stable")[:, :3]
    said, tops = order[:, 0], np.take_along_axis(pooled, order, axis=1)
    nothing = np.zeros(len(rows), np.float32)
    leads = [tops[:, at] - tops[:, at + 1] if tops.shape[1] > at + 1 else nothing for at in (0, 1)]
    found = [tops[:, 0] - np.log(-np.expm1(np.minimum(tops[:, 0], np.float32(-1e-6)))), *leads]
    for head in looks.heads:
        others = head.copy()
        others[rows, said] = -np.inf
        found.append(head[rows, said] - others.max(axis=1) if head.shape[1] > 1 else nothing)
    found += [usual, looks.known]
    if looks.near is not None and looks.similarity is not None:
        same = looks.near == said[:, None]
        found += [same[:, :count].mean(axis=1) for count in AGREE]
        found += [looks.similarity[:, 0], familiarity(looks.similarity)]
    return np.stack([np.asarray(one, np.float32) for one in found], axis=1)


def accept(found: Floats, weights: Floats, mean: Floats, scale: Floats) -> Floats:
    """The probability of being right, by a logistic model of the signs: its last weight is the constant."""
    level = (standardised(found, mean, scale) * weights[:-1]).sum(axis=1) + weights[-1]
    return np.asarray(1 / (1 + np.exp(-np.clip(level, -_MOST, _MOST))), np.float32)


def standardised(found: Floats, mean: Floats, scale: Floats) -> Floats:
    """Signs in units of what was usual; bounded, since a sign that never varied says nothing by being far off now."""
    return np.asarray(np.clip((found - mean) / scale, -_MOST, _MOST), np.float32)
