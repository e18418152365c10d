"""Regression trees as arrays: asked with numpy alone, all trees of many rows at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ARRAYS: Final = ("feature", "threshold", "left", "right", "value", "root", "output", "base")
_MOST_NODES: Final = 10_000_000
_MOST_DEPTH: Final = 64


class Trees:
    """Sums of trees, one sum for each output. Never changed once made.

    Of node i, `feature[i]` is compared with `threshold[i]`: up to it the way goes to `left[i]`, above it to `right[i]`. A leaf is
    its own left and right. Tree t begins at `root[t]` and adds to `output[t]`, which begins with `base`.
    """

    __slots__ = ("_depth", "arrays")

    def __init__(self, arrays: Mapping[str, NDArray[Any]], features: int) -> None:
        self.arrays = {name: np.asarray(arrays[name]) for name in ARRAYS}
        nodes, trees = len(self.arrays["feature"]), len(self.arrays["root"])
        ways = [self.arrays[name] for name in ("left", "right")]
        if nodes > _MOST_NODES or any(
            self.arrays[name].shape != (nodes,) for name in ("threshold", "left", "right", "value")
        ):
            raise ValueError("the trees' numbers do not fit together")
        if self.arrays["output"].shape != (trees,) or self.arrays["base"].ndim != 1:
            raise ValueError("the trees' outputs do not fit together")
        _check(self.arrays["feature"], features)
        _check(self.arrays["output"], len(self.arrays["base"]))
        for places in (*ways, self.arrays["root"]):
            _check(places, nodes)
        if not all(np.isfinite(self.arrays[name]).all() for name in ("threshold", "value", "base")):
            raise ValueError("the trees hold something that is no number")
        self._depth = self._deepest()

    def predict(self, rows: Array) -> Array:
        """The outputs [rows, outputs] for the features [rows, features]."""
        feature, threshold, left, right = (self.arrays[name] for name in ("feature", "threshold", "left", "right"))
        numbers = np.arange(len(rows))[:, None]
        at = np.tile(self.arrays["root"], (len(rows), 1))
        for _ in range(self._depth):
            at = np.where(rows[numbers, feature[at]] <= threshold[at], left[at], right[at])
        found = self.arrays["value"][at]
        sums = np.tile(self.arrays["base"], (len(rows), 1))
        for output in range(sums.shape[1]):
            sums[:, output] += found[:, self.arrays["output"] == output].sum(axis=1)
        return sums

    def _deepest(self) -> int:
        """Steps from the roots to the last leaf; raises ValueError where a way never ends."""
        at, depth = np.unique(self.arrays["root"]), 0
        while True:
            after = np.unique(np.concatenate([self.arrays["left"][at], self.arrays["right"][at]]))
            if np.isin(after, at).all():  # only leaves are left, which lead to themselves
                break
            at, depth = after, depth + 1
            if depth > _MOST_DEPTH:
                raise ValueError("the trees are too deep")
        if (self.arrays["left"][at] != at).any() or (self.arrays["right"][at] != at).any():
            raise ValueError("a way through the trees never ends")
        return depth


def _check(places: NDArray[Any], most: int) -> None:
    if (
        places.ndim != 1
        or not np.issubdtype(places.dtype, np.integer)
        or (len(places) and not (places.min() >= 0 and places.max() < most))
    ):
        raise ValueError("the trees name places that are not there")
