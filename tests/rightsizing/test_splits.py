"""Rows are divided so that what is found on some of them holds for others."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.rightsizing.training import noise
from orchestrator.rightsizing.training.splits import folds_of, groups_of, split, truth_of

ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "A", " a ", "b c", "B  C", "d", "e", "f"]), st.sampled_from("xyz")),
    min_size=1,
    max_size=60,
)


@settings(max_examples=200)
@given(ROWS, st.integers(0, 20), st.integers(1, 30), st.integers(0, 5))
def test_every_row_is_on_one_side_and_equal_texts_are_together(
    rows: list[tuple[str, str]], aside: int, most: int, seed: int
) -> None:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    groups = groups_of(texts, labels)
    assert sorted(at for group in groups for at in group.rows) == list(range(len(rows)))
    assert len(groups) == len({" ".join(text.lower().split()) for text in texts})
    found = split(groups, aside, most, seed)
    assert found == split(groups, aside, most, seed)
    assert not set(found.fit) & set(found.certify)
    assert len(found.certify) == min(aside, len(groups))
    assert len(found.fit) <= most
    assert len(found.fit) + len(found.certify) + found.left_out == len(groups)
    assert all(group.label is not None for group in found.fit)


def test_a_group_has_the_label_of_most_of_its_rows_or_none() -> None:
    found = groups_of(["a", "A", "a", "b", "b", "c"], ["x", "x", "y", "x", "y", "z"])
    assert [(group.rows, group.label, group.contradictory) for group in found] == [
        ((0, 1, 2), "x", True),
        ((3, 4), None, True),
        ((5,), "z", False),
    ]


def test_a_contradictory_group_is_held_to_each_of_its_labels_as_often_as_it_has_it() -> None:
    (group,) = groups_of(["a"] * 3, ["x", "x", "y"])
    drawn = Counter(truth_of(group, seed) for seed in range(3_000))
    assert set(drawn) == {0, 1, 2}
    assert min(drawn.values()) > 850
    assert truth_of(group, 1) == truth_of(group, 1)


def test_rows_to_certify_are_drawn_whatever_their_label() -> None:
    labels = ["rare"] * 20 + ["common"] * 180
    groups = groups_of([f"text {at}" for at in range(200)], labels)
    drawn = [sum(group.label == "rare" for group in split(groups, 50, 1_000, seed).certify) for seed in range(400)]
    # Hypergeometric: mean 5, variance 3.39. Stratified or balanced draws would hardly vary.
    assert np.mean(drawn) == pytest.approx(5, abs=0.3)
    assert np.var(drawn) == pytest.approx(3.39, abs=0.8)


@pytest.mark.parametrize("texts,aside", [(49, 0), (50, 10), (1_000, 200), (10_000, 2_000), (30_000, 2_000)])
def test_a_fifth_is_kept_aside_and_no_more_than_is_useful(texts: int, aside: int) -> None:
    groups = groups_of([str(at) for at in range(texts)], ["x"] * texts)
    assert len(split(groups, None, 10**6, 0).certify) == aside


def test_folds_share_out_each_kind_evenly() -> None:
    kinds = random.Random(0).choices("abc", [1, 5, 20], k=500)
    folds = folds_of(kinds, 5, 1)
    for kind in "abc":
        sizes = Counter(fold for fold, one in zip(folds, kinds, strict=True) if one == kind)
        assert max(sizes.values()) - min(sizes.get(fold, 0) for fold in range(5)) <= 1
    assert Counter(folds).most_common()[0][1] - Counter(folds).most_common()[-1][1] <= 1
    assert folds == folds_of(kinds, 5, 1) != folds_of(kinds, 5, 2)


def test_a_label_looks_wrong_where_another_is_as_likely_as_it_is_for_its_own_rows() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.3, 0.7], [0.1, 0.9], [0.6, 0.4]], np.float32)
    found = noise.suspects(probabilities, [0, 0, 1, 1, 1, 1], ["card", "login"], [1, 2, 3, 4, 5, 6])
    # Rows of `card` have it with 0.85 in the mean: row 3 reaches that, row 6 does not.
    assert [(one.row, one.given, one.said) for one in found] == [(3, "login", "card")]
    assert found[0].as_dict() == {"row": 3, "given": "login", "said": "card", "confidence": 0.95}
