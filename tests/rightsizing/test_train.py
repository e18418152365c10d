"""What is trained answers as it was fitted, and its record tells all that went into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.learned import specialist as specialists
from orchestrator.learned import stored
from orchestrator.learned.record import TrainingRecord
from orchestrator.learned.terms import char_terms, text_sha256, word_terms
from orchestrator.rightsizing.training import fitting
from orchestrator.rightsizing.training.evaluate import evaluate
from orchestrator.rightsizing.training.fitting import Target
from orchestrator.rightsizing.training.train import train
from tests.rightsizing.made_tickets import rows

NASTY = [
    "",
    " ",
    "a",
    "İstanbul ß ǅ",
    "日本語 テキスト",
    "x\u00a0y\u2003z",
    "it's 3.5% O'Neil_x",
    "\u200b\ufeff",
    "é e\u0301",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingRecord]:
    blobs = tmp_path_factory.mktemp("blobs")
    return blobs, train(*rows(), "tickets", blobs)


def test_the_record_tells_where_the_model_comes_from(trained: tuple[Path, TrainingRecord]) -> None:
    blobs, record = trained
    assert (record.n, record.labels, record.held_out_n) == (120, ("card", "login", "refund"), 96)
    assert record.class_counts == {"card": 40, "login": 40, "refund": 40}
    assert record.held_out_accuracy > 0.9 > record.baseline_accuracy
    assert set(record.libraries) == {"python", "numpy", "scipy", "scikit-learn", "processor"}
    assert record.splits == {"fit": 96, "certify": 24, "left_out": 0, "contradictory": 0}
    assert record.cross_fitted["n"] == 96
    assert record.encoder is None
    assert any("n-grams alone" in note for note in record.notes)
    folder = specialists.current_folder(blobs, "tickets")
    assert folder == blobs / "specialists" / "tickets" / record.version
    assert specialists.load(folder)[1] == record
    assert specialists.tasks_with_specialists(blobs) == ("tickets",)


def test_an_evaluation_counts_what_is_right(trained: tuple[Path, TrainingRecord]) -> None:
    blobs, record = trained
    texts, labels = rows(60, seed=1)
    labels[0] = "somebody-else"
    found = evaluate(blobs / "specialists" / "tickets" / record.version, texts, labels)
    assert found.n == 60
    assert 0.9 < found.accuracy < 1
    assert found.unknown_labels == ("somebody-else",)
    assert found.per_class["somebody-else"] == {"precision": 0.0, "recall": 0.0, "n": 1}
    assert ("somebody-else", "card", 1) in found.confusions
    assert 0 < found.median_latency_ms < 50
    assert {"accuracy", "n"} <= json.loads(json.dumps(found.as_dict())).keys()


@pytest.mark.parametrize("labels", [2, 3])
def test_n_grams_say_what_scikit_learn_says(labels: int) -> None:
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    from orchestrator.learned.ngrams import scores

    texts, truth = rows()
    keep = [at for at in range(len(texts)) if at % 3 < labels]
    texts, truth = [texts[at] for at in keep] + NASTY[1:], [truth[at] for at in keep] + ["card"] * len(NASTY[1:])
    blocks = [
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
    ]
    known = sorted(set(truth))
    numbers = np.array([known.index(label) for label in truth], np.int32)
    model = LinearSVC(C=fitting.MARGIN_COST, tol=fitting.MARGIN_TOLERANCE, random_state=0)
    model.fit(hstack([block.fit_transform(texts) for block in blocks]), numbers)
    asked = [*rows(30, seed=2)[0], *NASTY]
    theirs = model.decision_function(hstack([block.transform(asked) for block in blocks]))
    fitted = fitting.fit_heads(texts, None, [Target(None, tuple(known), numbers)])
    found, _ = fitted.ngrams.find(asked)
    ours = scores(found, fitted.arrays[0]["terms_coef"], fitted.arrays[0]["terms_intercept"], len(asked))
    assert np.abs(theirs - (ours if labels > 2 else ours[:, 1])).max() < 0.02


def test_terms_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2)).build_analyzer()
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).build_analyzer()
    for text in [*rows(30)[0], *NASTY]:
        assert sorted(word_terms(text)) == sorted(words(text))
        assert sorted(char_terms(text)) == sorted(chars(text))


def test_the_smallest_set_that_is_allowed_can_be_trained(tmp_path: Path) -> None:
    record = train(["a", "a", "b", "b"], ["x", "x", "y", "y"], "tiny", tmp_path)
    assert (record.n, record.held_out_n, record.duplicates) == (4, 0, 2)
    assert any("Nothing is calibrated" in note for note in record.notes)
    assert evaluate(tmp_path / "specialists" / "tiny" / record.version, ["a", "b"], ["x", "y"]).accuracy == 1


def test_the_same_rows_give_the_same_model_to_the_last_digit(tmp_path: Path) -> None:
    first, second = (train(*rows(), "tickets", tmp_path) for _ in range(2))
    other = train(*rows(), "tickets", tmp_path, seed=1)
    assert first.model_sha256 == second.model_sha256 != other.model_sha256
    assert first.version != second.version
    numbers = [(tmp_path / "specialists/tickets" / one.version / "model.npz").read_bytes() for one in (first, second)]
    assert numbers[0] == numbers[1]


def test_rows_kept_aside_are_scored_as_the_stored_specialist_scores_them(trained: tuple[Path, TrainingRecord]) -> None:
    blobs, record = trained
    folder = blobs / "specialists" / "tickets" / record.version
    specialist, kept = specialists.load(folder)[0], specialists.kept(folder)
    by_hash = {text_sha256(text): text for text in rows()[0]}
    again = specialist.predict([by_hash[row.text_sha256] for row in kept.certify])
    assert [(one.score, one.label) for one in again] == [(row.score, row.said) for row in kept.certify]
    assert not any(kept.knows(row.text_sha256) for row in kept.certify)
    assert sum(map(kept.knows, by_hash)) == len(kept.fitted) == 96


def test_no_text_is_written_beside_a_specialist(trained: tuple[Path, TrainingRecord]) -> None:
    blobs, record = trained
    folder = blobs / "specialists" / "tickets" / record.version
    for name in ("kept.json", "card.md"):
        written = (folder / name).read_text()
        assert not any(text in written for text in rows()[0])
    assert not any(text in json.dumps(record.as_dict()) for text in rows()[0])


def test_the_card_tells_data_figures_limits_and_licences(trained: tuple[Path, TrainingRecord]) -> None:
    blobs, record = trained
    card = (blobs / "specialists" / "tickets" / record.version / "card.md").read_text()
    for words in (
        record.model_sha256,
        record.data_sha256,
        "| texts fitted on | 96 |",
        "## Limits",
        "| your labelled rows | yours |",
    ):
        assert words in card


def test_labels_that_look_wrong_are_listed_by_their_rows(tmp_path: Path) -> None:
    texts, labels = rows(240)
    wrong = {4: "login", 40: "login", 101: "card"}
    for at, label in wrong.items():
        assert labels[at] != label
        labels[at] = label
    record = train(texts, labels, "tickets", tmp_path, certify_rows=0)
    listed = {one["row"] - 1: one["given"] for one in record.label_noise["listed"]}
    assert listed == wrong
    assert any("Labels that look wrong: 3." in note for note in record.notes)


def test_texts_that_contradict_themselves_are_listed_and_the_commoner_label_is_taken(tmp_path: Path) -> None:
    texts, labels = rows(60)
    texts += ["my card", "My  CARD", "my card", "who knows", "who knows"]
    labels += ["card", "card", "login", "card", "refund"]
    record = train(texts, labels, "tickets", tmp_path, certify_rows=0)
    assert record.contradictions["n"] == record.splits["contradictory"] == 2
    assert record.contradictions["listed"] == [
        {"rows": [61, 62, 63], "labels": ["card", "login"], "taken": "card"},
        {"rows": [64, 65], "labels": ["card", "refund"], "taken": None},
    ]
    assert (record.splits["fit"], record.splits["left_out"], record.duplicates) == (61, 1, 3)
    assert any("several labels" in note for note in record.notes)


def test_an_evaluation_tells_of_rows_that_were_learned_from(trained: tuple[Path, TrainingRecord]) -> None:
    blobs, record = trained
    texts, labels = rows(120)
    found = evaluate(blobs / "specialists" / "tickets" / record.version, texts, labels)
    assert (found.n, found.learned, found.kept_aside) == (120, 96, 24)
    only = evaluate(blobs / "specialists" / "tickets" / record.version, *rows(30, seed=9))
    assert (only.learned, only.kept_aside, only.accuracy_unseen) == (0, 0, only.accuracy)


def test_closed_fields_are_learned_together_and_answered_as_one_object(tmp_path: Path) -> None:
    texts, subjects = rows(180)
    urgent = [at % 2 == 0 for at in range(180)]
    texts = [f"{text} at once today" if now else text for text, now in zip(texts, urgent, strict=True)]
    labels = [json.dumps({"urgent": now, "subject": subject}) for now, subject in zip(urgent, subjects, strict=True)]
    record = train(texts, labels, "triage", tmp_path)
    assert record.labels == ('subject="card"', 'subject="login"', 'subject="refund"', "urgent=false", "urgent=true")
    folder = tmp_path / "specialists" / "triage" / record.version
    (answer,) = specialists.load(folder)[0].predict(["refund money at once today"])
    assert json.loads(answer.label) == {"subject": "refund", "urgent": True}
    other = [json.dumps({"subject": subject, "urgent": False}) for subject in rows(60, seed=5)[1]]
    found = evaluate(folder, rows(60, seed=5)[0], other)
    assert found.accuracy > 0.9
    assert found.per_class["urgent=false"]["n"] == 60
    assert set(found.per_class) <= set(record.labels)
    strange = evaluate(folder, ["my card"], [json.dumps({"subject": "taxes", "urgent": False})])
    assert strange.unknown_labels == ('subject="taxes"',)
    assert record.class_counts["urgent=true"] == 90
    with pytest.raises(InvalidRequest, match="subject, urgent"):
        evaluate(folder, ["a card"], ["card"])


@pytest.mark.parametrize(
    "labels,words",
    [
        (['{"a": 1}', '{"b": 1}', '{"a": 2}'], "Row 2: the label has the fields b"),
        (['{"a": 1}', "card", '{"a": 2}'], "Row 2: the label is no JSON object"),
        (['{"a": [1]}', '{"a": [2]}', '{"a": [3]}'], "a list or an object"),
        (["{}", "{}", "{}"], "1 to 20 fields"),
    ],
)
def test_labels_of_fields_must_all_have_one_form(tmp_path: Path, labels: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        train(["one text", "two texts", "three texts"], labels, "triage", tmp_path)


def test_labels_with_few_rows_or_none_left_are_named(tmp_path: Path) -> None:
    texts, labels = rows(90)
    texts += ["a tax", "a fine", "who?", "Who?", "who?", "who?"]
    labels += ["taxes", "taxes", "card", "card", "odd", "odd"]
    record = train(texts, labels, "tickets", tmp_path, certify_rows=0)
    notes = " ".join(record.notes)
    assert "No row is left to learn these labels from: 'odd'" in notes
    assert "fewer than 5 texts to learn from: 'taxes'" in notes


def test_more_texts_than_a_fit_takes_are_sampled_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.rightsizing.training.train.MOST_FITTED", 60)
    record = train(*rows(200), "tickets", tmp_path)
    assert record.splits == {"fit": 60, "certify": 40, "left_out": 100, "contradictory": 0}
    assert any("100 texts were left out" in note for note in record.notes)


@pytest.mark.parametrize("count", [-1, 119, 10**9])
def test_no_more_rows_are_kept_aside_than_can_be_spared(tmp_path: Path, count: int) -> None:
    with pytest.raises(InvalidRequest, match="cannot be kept aside"):
        train(*rows(), "tickets", tmp_path, certify_rows=count)


@pytest.mark.parametrize(
    "texts,labels,words",
    [
        ([], [], "at least 2 labels"),
        (["a", "b"], ["x", "x"], "at least 2 labels"),
        (["a", "b", "c"], ["x", "x", "y"], "at least 2 rows"),
        (["a"], ["x", "y"], "1 texts, but 2 labels"),
        (["a", " "], ["x", "y"], "Row 2"),
        (["a", "x" * 100_001], ["x", "y"], "Row 2"),
        ([f"t{n // 2}" for n in range(2002)], [f"l{n // 2}" for n in range(2002)], "1,001 labels"),
    ],
)
def test_rows_that_do_not_suffice_are_refused(tmp_path: Path, texts: list[str], labels: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        train(texts, labels, "tickets", tmp_path)
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["", "Big", "../x", "-a", "a_b", "a\n", "a" * 64, "ä"])
def test_names_of_tasks_are_checked_before_any_path_is_made(tmp_path: Path, task: str) -> None:
    with pytest.raises(InvalidRequest, match="task"):
        train(["a", "b"], ["x", "y"], task, tmp_path)
    with pytest.raises(InvalidRequest, match="task"):
        specialists.current_folder(tmp_path, task)


def test_training_again_makes_a_new_version_and_keeps_the_old(tmp_path: Path) -> None:
    first = train(*rows(30), "tickets", tmp_path)
    second = train(*rows(30), "tickets", tmp_path)
    home = tmp_path / "specialists" / "tickets"
    assert specialists.current_folder(tmp_path, "tickets") == home / second.version
    assert sorted(path.name for path in home.iterdir()) == sorted([first.version, second.version, "current.json"])
    assert first.data_sha256 == second.data_sha256


def test_a_training_that_cannot_be_written_leaves_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(*rows(30), "tickets", tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        train(*rows(30), "tickets", tmp_path)
    home = tmp_path / "specialists" / "tickets"
    assert sorted(path.name for path in home.iterdir()) == [first.version, "current.json"]


def test_progress_is_told_from_start_to_end(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    train(*rows(30), "tickets", tmp_path, on_progress=lambda step, share: told.append((step, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
