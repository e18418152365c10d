"""Trains a specialist: TF-IDF over words and characters, and a logistic regression, on CPU.

A fifth of every label's rows is held out first, for the accuracy that the record states; then the model that is kept is
fitted on everything.
"""

from __future__ import annotations

import hashlib
import platform
import random
import secrets
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.evaluate import score
from orchestrator.rightsizing.features import char_terms, word_terms
from orchestrator.rightsizing.labels import MAX_LABEL_CHARS, MAX_ROWS, MAX_TEXT_CHARS
from orchestrator.rightsizing.specialist_format import Floats, Specialist, TrainingRecord, check_task, save

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the whole that is done (0 to 1)."""

MAX_LABELS: Final = 1_000
_HELD_OUT: Final = 0.2
_MOST_WORDS: Final = 20_000
_MOST_CHARS: Final = 30_000
_MOST_WEIGHTS: Final = 20_000_000
"""Features times labels: what bounds the model to 80 MB and its training to minutes."""
_PRUNE_FROM_ROWS: Final = 2_000
"""From so many rows on, runs of characters that stand in a single text are left out."""
_REGULARISATION: Final = 10.0
_ITERATIONS: Final = 60
_TOLERANCE: Final = 1e-3


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    task: str,
    out_dir: Path,
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> TrainingRecord:
    """Train a specialist for `task` and make it the current one under `out_dir` (the blob folder).

    Raises InvalidRequest where the rows do not suffice: fewer than 2 labels, fewer than 2 rows of a label, too much of anything.
    """
    began = time.monotonic()
    tell = on_progress or (lambda _step, _share: None)
    check_task(task)
    counts = _check(texts, labels)
    tell("holding out a fifth", 0.0)
    learn, held = hold_out(texts, labels, seed)
    tell("fitting without the held-out rows", 0.02)
    trial = fit([texts[at] for at in learn], [labels[at] for at in learn])
    tell("checking on the held-out rows", 0.45)
    truth = [labels[at] for at in held]
    accuracy, per_class = score(truth, [p.label for p in trial.predict([texts[at] for at in held])])
    commonest = Counter(labels[at] for at in learn).most_common(1)[0][0]
    tell("fitting on every row", 0.5)
    specialist = fit(texts, labels)
    tell("saving", 0.98)
    now = datetime.now(UTC)
    record = TrainingRecord(
        task=task,
        version=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        n=len(texts),
        labels=specialist.labels,
        class_counts=dict(sorted(counts.items())),
        held_out_n=len(held),
        held_out_accuracy=accuracy,
        baseline_accuracy=truth.count(commonest) / len(truth) if truth else 0.0,
        per_class=per_class,
        duplicates=len(texts) - len(set(map(_same, texts))),
        features=sum(map(len, specialist.vocabularies)),
        seed=seed,
        trained_at=now.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 3),
        libraries=_libraries(),
        data_sha256=_digest(texts, labels),
        options=_options(),
    )
    save(out_dir, specialist, record)
    tell("done", 1.0)
    return record


def hold_out(texts: Sequence[str], labels: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Row numbers to learn from and to hold out: a fifth of each label, at least one row left to learn from.

    Rows of the same text stay together, or the held-out accuracy would be that of a memory. A text that has several
    labels is learned from and never held out: no answer to it could be right.
    """
    groups: dict[str, list[int]] = {}
    for at, text in enumerate(texts):
        groups.setdefault(_same(text), []).append(at)
    by_label: dict[str, list[list[int]]] = {}
    learn: list[int] = []
    held: list[int] = []
    for rows in groups.values():
        if len({labels[at] for at in rows}) == 1:
            by_label.setdefault(labels[rows[0]], []).append(rows)
        else:
            learn += rows
    shuffle = random.Random(seed).shuffle  # noqa: S311 - a repeatable split, nothing secret
    for label in sorted(by_label):
        rows_of = by_label[label]
        shuffle(rows_of)
        count = min(max(1, round(_HELD_OUT * len(rows_of))), len(rows_of) - 1)
        held += [at for rows in rows_of[:count] for at in rows]
        learn += [at for rows in rows_of[count:] for at in rows]
    return sorted(learn), sorted(held)


def fit(texts: Sequence[str], labels: Sequence[str]) -> Specialist:
    """A specialist fitted on all rows given."""
    from scipy.sparse import hstack
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    most = max(1_000, _MOST_WEIGHTS // len(set(labels)))
    prune = 2 if len(texts) >= _PRUNE_FROM_ROWS else 1
    words, word_idf, word_rows = _block(texts, word_terms, min(_MOST_WORDS, most * 2 // 5), 1)
    chars, char_idf, char_rows = _block(texts, char_terms, min(_MOST_CHARS, most * 3 // 5), prune)
    if not words and not chars:
        raise InvalidRequest("The texts have no words or characters to learn from.")
    rows = hstack([word_rows, char_rows], format="csr", dtype=np.float32)
    model = LogisticRegression(C=_REGULARISATION, max_iter=_ITERATIONS, tol=_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are bounded on purpose
        model.fit(rows, np.asarray(labels, dtype=object))
    coef, intercept = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one column for two labels: the other's is zero
        coef, intercept = np.hstack([np.zeros_like(coef), coef]), np.concatenate([[0.0], intercept])
    arrays = {"word_idf": word_idf, "char_idf": char_idf, "coef": coef, "intercept": intercept}
    kept: dict[str, Floats] = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    return Specialist([str(label) for label in model.classes_], words, chars, kept)


def _block(
    texts: Sequence[str], analyse: Callable[[str], list[str]], most: int, prune: int
) -> tuple[list[str], Any, Any]:
    """The vocabulary of one kind of term, its inverse document frequencies, and the rows as a sparse matrix."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(analyzer=analyse, max_features=most, min_df=prune, sublinear_tf=True, dtype=np.float32)
    try:
        rows = vectoriser.fit_transform(texts)
    except ValueError:  # not one term: what it says for texts that are all punctuation, or all different
        return [], np.zeros(0, np.float32), csr_matrix((len(texts), 0), dtype=np.float32)
    return [str(term) for term in vectoriser.get_feature_names_out()], vectoriser.idf_, rows


def _check(texts: Sequence[str], labels: Sequence[str]) -> Counter[str]:
    if len(texts) != len(labels):
        raise InvalidRequest(f"There are {len(texts)} texts, but {len(labels)} labels.")
    if len(texts) > MAX_ROWS:
        raise InvalidRequest(f"{len(texts):,} rows are more than the {MAX_ROWS:,} allowed. Train on a sample of them.")
    for at, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if not text.strip() or not label.strip() or len(text) > MAX_TEXT_CHARS or len(label) > MAX_LABEL_CHARS:
            limits = f"texts have 1 to {MAX_TEXT_CHARS:,} characters, labels 1 to {MAX_LABEL_CHARS}"
            raise InvalidRequest(f"Row {at} cannot be used: {limits}.")
    counts = Counter(labels)
    if len(counts) < 2:
        raise InvalidRequest(
            f"A specialist needs at least 2 labels, and the rows have {len(counts)}. Add rows of another."
        )
    if len(counts) > MAX_LABELS:
        raise InvalidRequest(
            f"{len(counts):,} labels are more than the {MAX_LABELS:,} allowed. Is it the right column?"
        )
    rare = sorted(label for label, count in counts.items() if count < 2)
    if rare:
        shown = ", ".join(repr(label) for label in rare[:5]) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
        raise InvalidRequest(f"Each label needs at least 2 rows; these have one: {shown}. Add rows or remove these.")
    return counts


def _same(text: str) -> str:
    return " ".join(text.lower().split())


def _digest(texts: Sequence[str], labels: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        for part in (text, label):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _libraries() -> dict[str, str]:
    import scipy
    import sklearn

    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return {**versions, "scipy": str(scipy.__version__), "scikit-learn": str(sklearn.__version__)}


def _options() -> dict[str, Any]:
    return {
        "words": "1-2",
        "chars": "char_wb 3-5",
        "most_words": _MOST_WORDS,
        "most_chars": _MOST_CHARS,
        "regularisation": _REGULARISATION,
        "iterations": _ITERATIONS,
        "tolerance": _TOLERANCE,
    }
