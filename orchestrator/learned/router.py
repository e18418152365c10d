"""A learned router: how likely each model does a prompt well, and which one is worth its price.

Heads look at a prompt: at its words and signs, at prompts near it in shape and topics, at its sentence vector (where there is an encoder),
and, with trees, at shape and topics again. Each gives a number for every model. How well the models do on the whole, and by how much they differ, are blended apart: what a head
knows of one it may not know of the other. `orchestrator.rightsizing.router` trains it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.learned.encoder import Encoder
from orchestrator.learned.projection import Floats, Projection
from orchestrator.learned.shape import NAMES, shapes
from orchestrator.learned.trees import Trees

HEADS: Final = ("signs", "near", "trees", "vector")
TOPIC_WEIGHT: Final = 0.3**0.5
"""Of the direction of a prompt's topics in how near it is to another; the weight of its shape stands in `scale`."""
MOST_PROMPT_CHARS: Final = 1_000_000
"""Of a prompt that is asked about. Heads read less of it."""


_TEXTS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """From which gain on a dearer model is worth its price."""

    threshold: float
    """Probability of a good answer that one more US dollar must bring: 0 pays any price for any gain, infinity pays none."""

    def __post_init__(self) -> None:
        if math.isnan(self.threshold) or self.threshold < 0:
            raise InvalidRequest(
                f"A threshold is 0 or more, not {self.threshold}. Set one with `rightsize router calibrate`."
            )


def choose(probabilities: Floats, costs_usd: Sequence[float], rule: Rule) -> NDArray[np.int64]:
    """The model for each row of probabilities [rows, models], by its place: the most good answers for the money, by the rule.

    It is the model with the largest `probability - threshold * cost`; of equals the cheapest, then the first. Pure.
    """
    costs = np.asarray(costs_usd, np.float64)
    if (
        probabilities.ndim != 2
        or costs.shape != (probabilities.shape[1],)
        or not (np.isfinite(costs).all() and (costs >= 0).all())
    ):
        raise InvalidRequest("Each model needs one cost in US dollars, 0 or more. Give --cost MODEL=USD for each.")
    order = np.argsort(costs, kind="stable")
    if math.isinf(rule.threshold):  # only among the cheapest
        order = order[costs[order] == costs[order[0]]]
        return np.asarray(order[probabilities[:, order].argmax(axis=1)])
    value = probabilities[:, order].astype(np.float64) - rule.threshold * costs[order]
    return np.asarray(order[value.argmax(axis=1)])


class Router:
    """Predicts how likely each model does a prompt well. Never changed once made; safe to use from several threads."""

    __slots__ = ("_encoder", "arrays", "models", "signs", "topics", "trees")

    def __init__(
        self,
        models: Sequence[str],
        signs: Projection,
        trees: Trees,
        arrays: Mapping[str, NDArray[Any]],
        encoder: Encoder | None = None,
    ) -> None:
        """Put the parts together; raises ValueError where their numbers do not fit.

        Arrays: `mean` and `gap` [heads] blend, `offset` [models], `intercepts` [heads, models]; `centre` and `scale` of the shapes,
        `landmarks` [landmarks, places] and what is said `near` them [landmarks, models]; with an encoder `vector` [width, models].

        `signs` has a column for each model and one for each topic; trees have an output for how well all do and one for how each
        model differs.
        """
        self.models, self.signs, self.trees, self.arrays = tuple(models), signs, trees, dict(arrays)
        self._encoder = encoder
        self.topics = signs.matrix.shape[1] - len(self.models)
        self._check()

    def predict(self, texts: Sequence[str]) -> Floats:
        """The probability that each model does each prompt well: [texts, models]. A text's do not depend on its neighbours.

        Raises InvalidRequest for a prompt without text, or over MOST_PROMPT_CHARS.
        """
        for text in texts:
            if not text.strip() or len(text) > MOST_PROMPT_CHARS:
                raise InvalidRequest(
                    f"A prompt to route has 1 to {MOST_PROMPT_CHARS:,} characters that are not all blank. Route others by a tier."
                )
        said = np.empty((len(texts), len(self.models)), np.float32)
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[first : first + _TEXTS_AT_ONCE]
            vectors = self._encoder.encode(some) if self._encoder is not None and "vector" in self.arrays else None
            said[first : first + len(some)] = self.blend(self.heads(some, vectors))
        return said

    def place(self, model: str) -> int:
        """Which column of the predictions is the model's; raises NotFound for one that the router has not learned."""
        if model not in self.models:
            raise NotFound(
                f"The router has not learned what {model[:80]!r} does well. It knows {', '.join(self.models)[:300]}. Train it on "
                "outcomes that have a column for it: rightsize router train --outcomes FILE.csv",
                param="model",
            )
        return self.models.index(model)

    def heads(self, texts: Sequence[str], vectors: Floats | None) -> dict[str, Floats]:
        """What each head says: [texts, models] by its name. `vectors` are the encoder's, where there is one."""
        count = len(self.models)
        signs = self.signs.of(texts)
        found = {"signs": signs[:, :count] + self._intercept("signs")}
        if vectors is not None:
            found["vector"] = vectors @ self.arrays["vector"] + self._intercept("vector")
        shape = shapes(texts)
        close = closeness(places(shape, signs[:, count:], self.arrays), self.arrays["landmarks"])
        found["near"] = close @ self.arrays["near"] + self._intercept("near")
        sums = self.trees.predict(tree_rows(shape, signs[:, count:]))
        found["trees"] = (sums[:, :1] + sums[:, 1:]).astype(np.float32)
        return found

    def blend(self, heads: Mapping[str, Floats]) -> Floats:
        """One probability for each model from what the heads say."""
        total = np.tile(self.arrays["offset"], (len(next(iter(heads.values()))), 1))
        for name, found in heads.items():
            at = HEADS.index(name)
            mean = found.mean(axis=1, keepdims=True)
            total += self.arrays["mean"][at] * mean + self.arrays["gap"][at] * (found - mean)
        return np.asarray(np.clip(total, 0, 1), np.float32)

    def _intercept(self, head: str) -> Floats:
        return np.asarray(self.arrays["intercepts"][HEADS.index(head)])

    def _check(self) -> None:
        count = len(self.models)
        wanted = {"mean": (len(HEADS),), "gap": (len(HEADS),), "offset": (count,), "intercepts": (len(HEADS), count)}
        if self.topics < 0 or count < 2 or len(set(self.models)) != count:
            raise ValueError("the words do not fit the models")
        if any(self.arrays[name].shape != shape for name, shape in wanted.items()):
            raise ValueError("the numbers do not fit the models")
        if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in self.arrays.values()):
            raise ValueError("the numbers are of the wrong kind")
        landmarks, far = len(self.arrays["landmarks"]), tree_features(self.topics)
        wanted = {
            "landmarks": (landmarks, far),
            "near": (landmarks, count),
            "centre": (len(NAMES),),
            "scale": (len(NAMES),),
        }
        if any(self.arrays[name].shape != shape for name, shape in wanted.items()):
            raise ValueError("the landmarks do not fit the models")
        width = None if self._encoder is None else self._encoder.width
        if "vector" in self.arrays and self.arrays["vector"].shape != (width, count):
            raise ValueError("the vector head does not fit the encoder")
        if len(self.trees.arrays["base"]) != count + 1:
            raise ValueError("the trees do not fit the models")


def places(shape: NDArray[np.float64], topics: Floats, arrays: Mapping[str, NDArray[Any]]) -> Floats:
    """Where each prompt lies among others, by its shape and by the direction of its topics."""
    sizes = np.sqrt((topics * topics).sum(axis=1, keepdims=True))
    directions = TOPIC_WEIGHT * topics / np.maximum(sizes, 1e-9)
    return np.hstack([directions, ((shape - arrays["centre"]) * arrays["scale"]).astype(np.float32)])


def closeness(these: Floats, landmarks: Floats) -> Floats:
    """How near each of these places is to each landmark: 1 where it is the same, falling as a bell."""
    squares = (these * these).sum(axis=1)[:, None] + (landmarks * landmarks).sum(axis=1)[None, :]
    return np.asarray(np.exp(-np.maximum(squares - 2 * (these @ landmarks.T), 0)), np.float32)


def tree_rows(shape: NDArray[np.float64], topics: Floats) -> NDArray[np.float64]:
    """What the trees look at. Topics are rounded: their last bit must not put a prompt on the other side of a split."""
    return np.hstack([shape, np.round(topics.astype(np.float64), 4)])


def tree_features(topics: int) -> int:
    """How many numbers the trees look at."""
    return len(NAMES) + topics
