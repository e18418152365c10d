"""Labels are read strictly, and what is trained is stored safely and answers as it was fitted."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import InvalidConfig, InvalidRequest, NotFound
from orchestrator.rightsizing import specialist_format
from orchestrator.rightsizing import train as training
from orchestrator.rightsizing.evaluate import evaluate
from orchestrator.rightsizing.features import char_terms, word_terms
from orchestrator.rightsizing.labels import read_labels
from orchestrator.rightsizing.train import hold_out, train

SUBJECTS = {"card": "card delivery arrived post", "refund": "refund money back charge", "login": "password login reset"}
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


def rows(n: int = 120, seed: int = 0) -> tuple[list[str], list[str]]:
    """Made-up tickets: words of their subject among words of none."""
    draw = random.Random(seed)
    texts, labels = [], []
    for at in range(n):
        label = list(SUBJECTS)[at % 3]
        words = [
            *draw.sample(SUBJECTS[label].split(), 2),
            *draw.choices(["please", "my", "the", "help", "is", "was", "not", "yet"], k=4),
        ]
        draw.shuffle(words)
        texts.append(f"{' '.join(words)} {at}")
        labels.append(label)
    return texts, labels


def write(tmp_path: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, specialist_format.TrainingRecord]:
    blobs = tmp_path_factory.mktemp("blobs")
    return blobs, train(*rows(), "tickets", blobs)


@pytest.mark.parametrize(
    "content",
    [
        "text,label\nhello,a\nbye,b\n",
        "\ufefftext,label\r\nhello,a\r\nbye, b \r\n",
        "label;text\na;hello\n\nb;bye",
        'id\ttext\tlabel\n1\t"hello"\ta\n2\tbye\tb\n\n',
    ],
)
def test_common_forms_of_csv_are_read(tmp_path: Path, content: str) -> None:
    assert read_labels(write(tmp_path, content)) == (["hello", "bye"], ["a", "b"])


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, 'Body,Kind\n"two\nlines, and ""quotes""",a\n')
    assert read_labels(path, "Body", "Kind") == (['two\nlines, and "quotes"'], ["a"])


@pytest.mark.parametrize(
    "content,words",
    [
        ("", ["empty"]),
        ("text,label\n", ["no rows"]),
        ("text,kind\nhello,a\n", ["'label'", "text, kind", "--label-column"]),
        ("text,label,label\nhello,a,b\n", ["two columns"]),
        ("text,label\nhello,a\n,b\nbye,\n", ["line 3: no text", "line 4: no label"]),
        ('text,label\n"a\nb",a\n  ,b\n', ["line 4: no text"]),
        ("text,label\nhello,a,c\n", ["line 2", "3 fields"]),
        ("text,label\n" + "x\n" * 9, ["line 2", "and 4 more"]),
        ('text,label\nok,a\n"never closed,b\n', ["line 3", "quotes"]),
        (f"text,label\n{'x' * 100_001},a\n", ["line 2", "100,000"]),
        (f"text,label\n{'x' * 200_000},a\n", ["line 2", "100,000"]),
        (b"text,label\nhello,a\ncaf\xe9,b\n", ["line 3 is not UTF-8"]),
        (b"text,label\n" + b"hello,a\n" * 5000 + b"caf\xe9,b\n", ["line 5002 is not UTF-8"]),
        ("text,label\nhello,a\n".encode("utf-16"), ["UTF-16"]),
        (b"PK\x03\x04\0\0\0", ["no text file"]),
        (b"text,label\nhel\0lo,a\n", ["line 2"]),
    ],
)
def test_files_that_are_wrong_are_refused_with_their_lines(
    tmp_path: Path, content: str | bytes, words: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_labels(write(tmp_path, content))
    for word in words:
        assert word in caught.value.message


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InvalidRequest, match="Cannot read"):
            read_labels(path)


def test_the_record_tells_where_the_model_comes_from(trained: tuple[Path, specialist_format.TrainingRecord]) -> None:
    blobs, record = trained
    assert (record.n, record.labels, record.held_out_n) == (120, ("card", "login", "refund"), 24)
    assert record.class_counts == {"card": 40, "login": 40, "refund": 40}
    assert record.held_out_accuracy > 0.9 > record.baseline_accuracy
    assert set(record.libraries) == {"python", "numpy", "scipy", "scikit-learn"}
    folder = specialist_format.current_folder(blobs, "tickets")
    assert folder == blobs / "specialists" / "tickets" / record.version
    assert specialist_format.load(folder)[1] == record
    assert specialist_format.tasks_with_specialists(blobs) == ("tickets",)


def test_an_evaluation_counts_what_is_right(trained: tuple[Path, specialist_format.TrainingRecord]) -> None:
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
def test_predictions_are_those_of_scikit_learn(labels: int) -> None:
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, truth = rows()
    keep = [at for at in range(len(texts)) if at % 3 < labels]
    texts, truth = [texts[at] for at in keep] + NASTY[1:], [truth[at] for at in keep] + ["card"] * len(NASTY[1:])
    blocks = [
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
    ]
    model = LogisticRegression(C=10.0, max_iter=60, tol=1e-3).fit(
        hstack([b.fit_transform(texts) for b in blocks]), truth
    )
    asked = [*rows(30, seed=2)[0], *NASTY]
    theirs = model.predict_proba(hstack([b.transform(asked) for b in blocks]))
    ours = training.fit(texts, truth).probabilities(asked)
    assert np.abs(theirs - ours).max() < 0.02
    assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).all()


def test_terms_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2)).build_analyzer()
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).build_analyzer()
    for text in [*rows(30)[0], *NASTY]:
        assert sorted(word_terms(text)) == sorted(words(text))
        assert sorted(char_terms(text)) == sorted(chars(text))


def test_held_out_rows_are_of_every_label_and_never_seen_twice() -> None:
    texts, labels = rows(90)
    texts += texts[:30]
    labels += labels[:30]
    texts += ["same text", "Same  text"]
    labels += ["card", "refund"]
    learn, held = hold_out(texts, labels, seed=3)
    assert sorted(learn + held) == list(range(len(texts)))
    assert {labels[at] for at in held} == set(SUBJECTS)
    assert not {texts[at] for at in learn} & {texts[at] for at in held}
    assert {len(texts) - 1, len(texts) - 2} <= set(learn)
    assert hold_out(texts, labels, seed=3) == (learn, held)
    assert hold_out(texts, labels, seed=4) != (learn, held)


def test_the_smallest_set_that_is_allowed_can_be_trained(tmp_path: Path) -> None:
    record = train(["a", "a", "b", "b"], ["x", "x", "y", "y"], "tiny", tmp_path)
    assert (record.n, record.held_out_n, record.duplicates) == (4, 0, 2)
    assert evaluate(tmp_path / "specialists" / "tiny" / record.version, ["a", "b"], ["x", "y"]).accuracy == 1


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
        specialist_format.current_folder(tmp_path, task)


def test_training_again_makes_a_new_version_and_keeps_the_old(tmp_path: Path) -> None:
    first = train(*rows(30), "tickets", tmp_path)
    second = train(*rows(30), "tickets", tmp_path)
    home = tmp_path / "specialists" / "tickets"
    assert specialist_format.current_folder(tmp_path, "tickets") == home / second.version
    assert sorted(path.name for path in home.iterdir()) == sorted([first.version, second.version, "current.json"])
    assert first.data_sha256 == second.data_sha256


def test_a_training_that_cannot_be_written_leaves_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(*rows(30), "tickets", tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(specialist_format, "_settle", full)
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


def damage(folder: Path, how: str) -> None:
    npz, document = folder / "model.npz", folder / "model.json"
    if how == "flipped":
        data = bytearray(npz.read_bytes())
        data[len(data) // 2] ^= 1
        npz.write_bytes(data)
    elif how == "cut":
        document.write_bytes(document.read_bytes()[:100])
    elif how == "pickled":
        with zipfile.ZipFile(npz, "w") as made:
            for name in ("word_idf", "char_idf", "coef", "intercept"):
                with made.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.array([print], dtype=object), allow_pickle=True)
    rows_of = json.loads(document.read_bytes()) if how != "cut" else {}
    if how == "pickled":
        rows_of["npz_sha256"] = __import__("hashlib").sha256(npz.read_bytes()).hexdigest()
    elif how == "fewer":
        rows_of["words"] = rows_of["words"][1:]
    elif how == "format":
        rows_of["format"] = "somebody's"
    if how != "cut":
        document.write_text(json.dumps(rows_of))


@pytest.mark.parametrize("how", ["flipped", "cut", "pickled", "fewer", "format"])
def test_a_folder_that_is_damaged_is_never_used(tmp_path: Path, how: str) -> None:
    record = train(*rows(30), "tickets", tmp_path)
    folder = tmp_path / "specialists" / "tickets" / record.version
    damage(folder, how)
    with pytest.raises(InvalidConfig, match="rightsize train tickets"):
        specialist_format.load(folder)


def test_a_folder_that_is_missing_says_how_to_get_one(tmp_path: Path) -> None:
    assert specialist_format.current_folder(tmp_path, "tickets") is None
    with pytest.raises(NotFound, match="rightsize train tickets"):
        specialist_format.load(tmp_path / "specialists" / "tickets" / "v1")


@pytest.mark.parametrize("content", ["", "[]", '{"version": "../x"}', '{"version": 3}', "{}"])
def test_a_pointer_that_is_damaged_leads_nowhere(tmp_path: Path, content: str) -> None:
    home = tmp_path / "specialists" / "tickets"
    home.mkdir(parents=True)
    (home / "current.json").write_text(content)
    with pytest.raises(InvalidConfig, match=r"current\.json"):
        specialist_format.current_folder(tmp_path, "tickets")
