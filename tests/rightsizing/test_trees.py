"""Boosted trees as arrays answer as those that they were made of, and broken ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.learned.trees import Trees
from orchestrator.rightsizing.router import heads
from orchestrator.rightsizing.router.heads import OPTIONS


def test_trees_answer_as_scikit_learn_does() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    source = np.random.default_rng(0)
    features = source.random((600, 5))
    values = (source.random((600, 2)) < features[:, :2]).astype(np.float32)
    model = HistGradientBoostingRegressor(
        max_iter=OPTIONS["trees"], learning_rate=OPTIONS["rate"], max_leaf_nodes=OPTIONS["leaves"], early_stopping=False,
        min_samples_leaf=OPTIONS["leaf_rows"], l2_regularization=OPTIONS["shrink"], random_state=0,
    )  # fmt: skip
    mean = values.mean(axis=1)
    model.fit(features, mean)
    asked = np.vstack([features, source.random((600, 5)) * 3 - 1])
    found = heads._trees(features, values, 0).predict(asked)
    np.testing.assert_allclose(found[:, 0], model.predict(asked), atol=1e-9)
    assert np.ptp(found[:, 0]) > 0.3
    np.testing.assert_allclose(found[:, 1], -found[:, 2], atol=1e-9)


def test_trees_whose_way_never_ends_or_leads_nowhere_are_refused() -> None:
    good = {
        "feature": np.array([0, 0, 0]), "threshold": np.zeros(3), "left": np.array([1, 1, 2]), "right": np.array([2, 1, 2]),
        "value": np.array([0.0, 1.0, 2.0]), "root": np.array([0]), "output": np.array([0]), "base": np.array([0.5]),
    }  # fmt: skip
    assert Trees(good, 1).predict(np.array([[-1.0], [1.0]])).tolist() == [[1.5], [2.5]]
    for change in ({"left": np.array([1, 0, 2])}, {"right": np.array([9, 1, 2])}, {"root": np.array([-1])}, {"feature": np.array([5, 0, 0])},
                   {"value": np.array([0.0, np.nan, 1.0])}, {"output": np.array([1])}):  # fmt: skip
        with pytest.raises(ValueError, match=r"trees|way"):
            Trees({**good, **change}, 1)
