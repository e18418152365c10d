"""A specialist in memory: from a text to a label, how likely it is right, and whether the text is of the kind that was learned.

Heads look at a text in their own ways: its n-grams; its sentence vector beside those of the learned texts, weighed by a kernel; and
the labels of the nearest of them. Their log probabilities are added with weights, which hold the temperature. A small logistic
model over how sure and how agreed they are gives the score by which an answer is accepted. Weights and model were fitted on rows
that the heads had not seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.encoder import Encoder, Vectors
from orchestrator.learned.heads import (
    HEADS,
    SIGNS_OF_ALL,
    SIGNS_OF_TERMS,
    Looks,
    Seen,
    accept,
    centred,
    kernel_scores,
    log_softmax,
    nearest,
    neighbour_votes,
    pool,
    products,
    signs,
)
from orchestrator.learned.ngrams import Floats, NGrams, scores
from orchestrator.learned.prediction import Prediction

LEAST_IN_SCOPE: Final = 0.005
"""A text is out of scope where fewer of the learned texts than this share were as far from the others."""
_ROWS_AT_ONCE: Final = 64


class Field:
    """The heads of one thing that is to be said of a text: the label, or one field of several."""

    __slots__ = ("arrays", "labels", "name")

    ARRAYS: Final = ("terms_coef", "terms_intercept", "pool", "accept", "accept_mean", "accept_scale", "class_logit")
    WITH_VECTORS: Final = ("kernel_coef", "neighbour_labels")

    def __init__(self, name: str | None, labels: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> None:
        wanted = self.ARRAYS + (self.WITH_VECTORS if "kernel_coef" in arrays else ())
        if set(arrays) != set(wanted) or not labels or len(set(labels)) != len(labels):
            raise ValueError("numbers or labels are missing, or there are too many")
        for part in wanted:
            kind = np.int32 if part == "neighbour_labels" else np.float32
            if arrays[part].dtype != kind or not np.isfinite(arrays[part]).all():
                raise ValueError("the numbers are of the wrong kind")
            if part.endswith(("_intercept", "_logit")) and arrays[part].shape != (len(labels),):
                raise ValueError("the numbers do not fit the labels")
        near = arrays.get("neighbour_labels")
        count = SIGNS_OF_TERMS if near is None else SIGNS_OF_ALL
        shapes = {
            "pool": (1 if near is None else len(HEADS),),
            "accept": (count + 1,),
            "accept_mean": (count,),
            "accept_scale": (count,),
        }
        if any(arrays[part].shape != shape for part, shape in shapes.items()):
            raise ValueError("the numbers do not fit the heads")
        if near is not None and (not len(near) or near.min() < 0 or near.max() >= len(labels)):
            raise ValueError("the learned texts do not fit the labels")
        if near is not None and arrays["kernel_coef"].shape != (len(labels), len(near)):
            raise ValueError("the numbers do not fit the learned texts")
        self.name, self.labels, self.arrays = name, tuple(labels), dict(arrays)

    def look(self, seen: Seen) -> Looks:
        """What each head says of some texts."""
        a = self.arrays
        said = [scores(seen.found, a["terms_coef"], a["terms_intercept"], seen.texts)]
        near = None
        if seen.similarity is not None and seen.nearest is not None:
            said.append(kernel_scores(seen.similarity, a["kernel_coef"]))
            near = a["neighbour_labels"][seen.nearest.place]
            said.append(neighbour_votes(seen.nearest.similarity, near, len(self.labels)))
        heads = np.stack([log_softmax(one) for one in said])
        return Looks(heads, seen.known, near, None if seen.nearest is None else seen.nearest.similarity)

    def judge(self, looks: Looks) -> tuple[Floats, Floats]:
        """The log probability of each label by all heads together, and the probability that the likeliest is right."""
        a = self.arrays
        pooled = pool(looks.heads, a["pool"])
        found = signs(looks, pooled, a["class_logit"][pooled.argmax(axis=1)])
        return pooled, accept(found, a["accept"], a["accept_mean"], a["accept_scale"])


class Specialist:
    """Heads over shared n-grams and sentence vectors, ready to predict. Never changed once made."""

    __slots__ = ("centre", "encoder", "fields", "ngrams", "prototypes", "scope")

    def __init__(
        self, fields: Sequence[Field], ngrams: NGrams, scope: Floats, *, encoder: Encoder | None = None,
        centre: Vectors | None = None, prototypes: Vectors | None = None,
    ) -> None:  # fmt: skip
        """`scope` holds sorted familiarities of learned texts; `prototypes` the centred vectors of those that are kept."""
        if not fields or (len(fields) > 1 and any(field.name is None for field in fields)):
            raise ValueError("several fields need names")
        if not len(scope) or scope.dtype != np.float32:
            raise ValueError("nothing says what is familiar")
        if any(field.arrays["terms_coef"].shape != (ngrams.size, len(field.labels)) for field in fields):
            raise ValueError("the numbers do not fit the terms")
        if (encoder is None) != (prototypes is None) or (encoder is None) != (centre is None):
            raise ValueError("an encoder needs the vectors of learned texts, and they need it")
        if encoder is not None and prototypes is not None and centre is not None:
            if prototypes.shape[1:] != (encoder.width,) or centre.shape != (encoder.width,):
                raise ValueError("the vectors do not fit the encoder")
            if any(len(field.arrays.get("neighbour_labels", ())) != len(prototypes) for field in fields):
                raise ValueError("the numbers do not fit the learned texts")
        self.fields, self.ngrams, self.scope = tuple(fields), ngrams, scope
        self.encoder, self.centre, self.prototypes = encoder, centre, prototypes

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it can give; where it has several fields, the values of all of them as JSON."""
        return tuple(label for field in self.fields for label in field.labels)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The likeliest label of each text. A text's prediction does not depend on its neighbours."""
        found: list[Prediction] = []
        # All at once: the encoder computes texts of one length together. What comes after grows with the learned texts, and goes in parts.
        vectors = self.encoder.encode(texts) if self.encoder is not None and texts else None
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            found += self._predict(self.see(texts[part], None if vectors is None else vectors[part]))
        return found

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """The probability of each label of the first field for each text: shape (texts, labels)."""
        field = self.fields[0]
        starts = range(0, max(1, len(texts)), _ROWS_AT_ONCE)
        looks = Looks.joined([field.look(self.see(texts[start : start + _ROWS_AT_ONCE])) for start in starts])
        return np.exp(field.judge(looks)[0])

    def see(self, texts: Sequence[str], vectors: Vectors | None = None) -> Seen:
        """What the heads look at; `vectors` may be given where the texts were encoded already."""
        found, known = self.ngrams.find(texts)
        if self.encoder is None or self.prototypes is None or self.centre is None:
            return Seen(len(texts), found, known, None, None)
        vectors = self.encoder.encode(texts) if vectors is None else vectors
        similarity = products(centred(vectors, self.centre), self.prototypes)
        return Seen(len(texts), found, known, similarity, nearest(similarity))

    def _predict(self, seen: Seen) -> list[Prediction]:
        count = seen.texts
        places = np.searchsorted(self.scope, seen.familiar, side="right") / len(self.scope)
        sure, score = np.ones(count, np.float32), np.ones(count, np.float32)
        said: list[NDArray[np.int64]] = []
        for field in self.fields:
            pooled, right = field.judge(field.look(seen))
            said.append(pooled.argmax(axis=1))
            sure *= np.exp(pooled.max(axis=1))
            score *= right
        score = np.where(places < LEAST_IN_SCOPE, np.float32(0), score)
        return [
            Prediction(
                self._answer([int(one[at]) for one in said]), float(sure[at]), float(places[at]), float(score[at])
            )
            for at in range(count)
        ]

    def _answer(self, said: Sequence[int]) -> str:
        if self.fields[0].name is None:
            return self.fields[0].labels[said[0]]
        values = {str(field.name): json.loads(field.labels[at]) for field, at in zip(self.fields, said, strict=True)}
        return json.dumps(values, ensure_ascii=False, sort_keys=True)
