"""What a specialist says of itself is true: its confidence, its score and its scope."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from orchestrator.learned import specialist as specialists
from orchestrator.learned.classifier import Field, Specialist
from orchestrator.learned.encoder import encoders_of, open_encoder
from orchestrator.learned.heads import Looks, accept, kernel_scores, log_softmax, nearest, pool, products, signs
from orchestrator.learned.record import Kept
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.training import calibration, fitting
from orchestrator.rightsizing.training.evaluate import calibration_error, evaluate, hindsight_share
from orchestrator.rightsizing.training.fitting import Target
from orchestrator.rightsizing.training.train import train

TOPICS = {
    "card": ["my card has not arrived", "where is the card", "the card is late", "card delivery takes long"],
    "refund": ["give me my money back", "I want a refund", "refund the charge", "the money was not returned"],
    "login": ["I cannot log in", "password is refused", "reset my password", "locked out of the account"],
}
ENDS = [
    "please",
    "thanks",
    "since monday",
    "again",
    "and I am waiting",
    "what now",
    "help me",
    "it is urgent",
    "for two weeks",
    "today",
]


def tickets(n: int, seed: int, wrong: float = 0.0) -> tuple[list[str], list[str]]:
    """Made-up tickets; some have another topic's label."""
    draw = random.Random(seed)
    texts, labels = [], []
    for at in range(n):
        label = draw.choice(list(TOPICS))
        texts.append(f"{draw.choice(TOPICS[label])} {draw.choice(ENDS)} {draw.choice(ENDS)} {at}")
        labels.append(draw.choice(list(TOPICS)) if draw.random() < wrong else label)
    return texts, labels


def looks(n: int, labels: int, seed: int) -> tuple[Looks, Target]:
    """Two heads of which one knows the truth, overconfident, and the other nothing."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(labels, size=n).astype(np.int32)
    level = draw.normal(size=(n, labels)).astype(np.float32)
    level[np.arange(n), truth] += 2
    heads = np.stack(
        [log_softmax(6 * level), log_softmax(draw.normal(size=(n, labels)).astype(np.float32)), log_softmax(level * 0)]
    )
    near = np.tile(truth[:, None], (1, 8)).astype(np.int32)
    return Looks(heads, np.ones(n, np.float32), near, np.ones((n, 8), np.float32)), Target(
        None, tuple(map(str, range(labels))), truth
    )


def test_a_head_that_is_too_sure_is_cooled_and_one_that_knows_nothing_is_not_heard() -> None:
    found, target = looks(4_000, 5, 0)
    learned = calibration.calibrate(found, target)
    knows, nothing, _even = learned.arrays["pool"]
    assert 0.1 < knows < 0.5  # six times too sure
    assert nothing < 0.1 * 6 * knows
    confidence = np.exp(learned.pooled.max(axis=1))
    assert calibration_error(confidence, learned.right) < 0.03
    assert calibration_error(np.exp(found.heads[0].max(axis=1)), learned.right) > 0.1


def test_what_was_learned_of_the_heads_holds_for_other_rows() -> None:
    found, target = looks(4_000, 5, 1)
    learned = calibration.calibrate(found, target).arrays
    heads = {"terms_coef": np.zeros((0, 5), np.float32), "terms_intercept": np.zeros(5, np.float32)}
    heads |= {"kernel_coef": np.zeros((5, 1), np.float32), "neighbour_labels": np.zeros(1, np.int32)}
    field = Field(None, target.labels, {**heads, **learned})
    fresh, truth = looks(4_000, 5, 2)
    pooled, score = field.judge(fresh)
    right = pooled.argmax(axis=1) == truth.numbers
    assert calibration_error(score, right) < 0.04
    assert right[score > 0.9].mean() > right[score < 0.7].mean() + 0.2


def test_scores_rank_right_before_wrong_on_rows_with_noise(tmp_path: Path) -> None:
    record = train(*tickets(900, 0, wrong=0.12), "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))
    assert 0.85 < record.cross_fitted["accuracy"] < 0.97
    assert record.cross_fitted["score_error"] < 0.05
    folder = specialists.version_folder(tmp_path, "tickets", record.version)
    found = evaluate(folder, *tickets(600, 1, wrong=0.12))
    assert found.calibration_error < 0.06
    assert record.label_noise["n"] > 30


def test_a_prediction_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    encoder = open_encoder(encoders_of(tmp_path))
    texts, labels = tickets(200, 0)
    record = train(texts, labels, "tickets", tmp_path, encoder=encoder)
    folder = specialists.version_folder(tmp_path, "tickets", record.version)
    specialist, kept = specialists.load(folder)[0], specialists.kept(folder)
    by_hash = {text_sha256(text): text for text in texts}
    again = specialist.predict([by_hash[row.text_sha256] for row in kept.certify])
    assert [(one.score, one.label) for one in again] == [(row.score, row.said) for row in kept.certify]
    assert specialists.model_sha256(specialist) == record.model_sha256
    assert Kept.from_dict(kept.as_dict()) == kept


def test_with_and_without_vectors_the_same_rows_give_the_same_model(tmp_path: Path) -> None:
    encoder = open_encoder(encoders_of(tmp_path))
    for given in (encoder, None):
        hashes = {train(*tickets(120, 0), "tickets", tmp_path, encoder=given).model_sha256 for _ in range(2)}
        assert len(hashes) == 1


def test_other_languages_are_learned_by_their_n_grams(tmp_path: Path) -> None:
    german = {
        "karte": ["meine Karte kam nicht an", "wo bleibt die Karte"],
        "geld": ["ich will mein Geld zurück", "Erstattung bitte"],
    }
    draw = random.Random(0)
    labels = [draw.choice(list(german)) for _ in range(300)]
    texts = [
        f"{draw.choice(german[label])} {draw.choice(['heute', 'bitte', 'schon lange'])} {at}"
        for at, label in enumerate(labels)
    ]
    record = train(texts, labels, "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))
    assert record.held_out_accuracy > 0.95


def test_beyond_what_is_kept_some_texts_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_KEPT", 100)
    monkeypatch.setattr(fitting, "_KERNEL_WORK", 400 * 60**2)
    draw = np.random.default_rng(0)
    numbers = draw.integers(3, size=400).astype(np.int32)
    vectors = draw.normal(size=(400, 8)).astype(np.float32) + 3 * np.eye(8, dtype=np.float32)[numbers]
    texts = [f"text {at}" for at in range(400)]
    target = Target(None, ("a", "b", "c"), numbers)
    fitted = fitting.fit_heads(texts, vectors, [target])
    assert fitted.prototypes is not None
    assert len(fitted.prototypes) == 60
    assert fitted.arrays[0]["kernel_coef"].shape == (3, 60)
    found = calibration.look(fitted, [target], Fixed(), texts, vectors, np.arange(400))
    assert (found[0].heads[1].argmax(axis=1) == numbers).mean() > 0.9


def test_texts_that_are_nearly_the_same_stand_for_all_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_KEPT", 500)
    monkeypatch.setattr(fitting, "_KERNEL_WORK", 4_000 * 1_200**2)
    draw = np.random.default_rng(0)
    places = draw.normal(size=(40, 8)).astype(np.float32)
    of = draw.integers(len(places), size=4_000)
    vectors = places[of] + 1e-4 * draw.normal(size=(4_000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = (of % 3).astype(np.int32)
    target = Target(None, ("a", "b", "c"), numbers)
    (coef,) = fitting._kernels(vectors, fitting._kept(4_000), [target])
    said = kernel_scores(vectors @ vectors[fitting._kept(4_000)].T, coef)
    assert (said.argmax(axis=1) == numbers).all()


class Fixed:
    """An encoder whose vectors are given."""

    sha256, width = "fixed", 8

    def encode(self, texts: list[str]) -> np.ndarray:
        raise AssertionError("the vectors were given")


def test_a_label_without_a_row_in_a_part_is_never_preferred_there() -> None:
    target = Target(None, ("a", "b", "c"), np.array([0, 0, 1, 1], np.int32))
    fitted = fitting.fit_heads(["one apple", "two apples", "red car", "blue car"], None, [target])
    (found,) = calibration.look(fitted, [target], None, ["an apple", "a car", "zzz"], None, np.arange(3))
    assert (found.heads[0].argmax(axis=1) != 2).all()


def test_arithmetic_of_heads() -> None:
    similarity = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.25]], np.float32)
    found = nearest(similarity)
    assert found.place.tolist() == [[1, 2, 0], [0, 2, 1]]
    assert found.similarity[0].tolist() == similarity[0, [1, 2, 0]].tolist()
    a = np.random.default_rng(0).normal(size=(7, 384)).astype(np.float32)
    assert np.allclose(products(a, a), a @ a.T, atol=1e-3)
    heads = np.log(np.array([[[0.7, 0.3]], [[0.4, 0.6]]], np.float32))
    assert np.exp(pool(heads, np.array([1, 0], np.float32))) == pytest.approx(np.array([[0.7, 0.3]]))
    nothing, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    assert accept(np.array([[3, 9]], np.float32), np.array([1, 0, 0], np.float32), nothing, one) == pytest.approx(
        1 / (1 + np.exp(-3))
    )


def test_a_sign_that_never_varied_does_not_decide_by_being_far_off() -> None:
    found, target = looks(400, 4, 3)
    learned = calibration.calibrate(found, target).arrays
    constant = Looks(found.heads, np.full(400, 0.5, np.float32), found.near, found.similarity)
    before, after = (
        accept(
            signs(one, pool(one.heads, learned["pool"]), np.zeros(400, np.float32)),
            *(learned[part] for part in ("accept", "accept_mean", "accept_scale")),
        )
        for one in (found, constant)
    )
    assert np.abs(before - after).max() < 1e-3


def test_hindsight_takes_equal_scores_together_and_nothing_out_of_scope() -> None:
    scores, right = np.array([0.9, 0.9, 0.5, 0.0]), np.array([True, False, True, True])
    assert hindsight_share(scores, right, 0.5) == 0.75
    assert hindsight_share(scores, right, 0.9) == 0
    assert hindsight_share(np.array([0.9, 0.5]), np.array([True, False]), 0.98) == 0.5
    assert hindsight_share(np.zeros(0), np.zeros(0, bool), 0.9) == 0


def test_numbers_that_do_not_fit_are_never_used() -> None:
    target = Target(None, ("a", "b"), np.array([0, 0, 1, 1], np.int32))
    fitted = fitting.fit_heads(["one apple", "two apples", "red car", "blue car"], None, [target])
    good = {**fitted.arrays[0], **calibration.uncalibrated(target, fitted)}
    Specialist([Field(None, target.labels, good)], fitted.ngrams, calibration.everything())
    for name, array in good.items():
        for bad in (array[..., :-1], array.astype(np.float64), np.full_like(array, np.nan)):
            with pytest.raises(ValueError, match="numbers"):
                Specialist([Field(None, target.labels, {**good, name: bad})], fitted.ngrams, calibration.everything())
    with pytest.raises(ValueError, match="missing"):
        Field(None, ("a", "a"), good)
