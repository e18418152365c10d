"""How good a specialist's answers are, how well it knows that, and how quick it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest
from orchestrator.learned import specialist as specialists
from orchestrator.learned.classifier import Specialist
from orchestrator.learned.prediction import Prediction
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.training.labels import canonical, fields_of, pieces

_TIMED_ROWS: Final = 500
_CONFUSIONS_SHOWN: Final = 10
_BINS: Final = 15
_QUALITIES: Final = (0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a specialist came to on labelled rows."""

    task: str
    version: str
    n: int
    accuracy: float
    per_class: dict[str, dict[str, float]]
    """Label -> precision, recall and n (rows that truly have it)."""
    confusions: tuple[tuple[str, str, int], ...]
    """(true label, label said, rows), the commonest mistakes first."""
    unknown_labels: tuple[str, ...]
    """Labels of the rows that the specialist does not know: it cannot be right on these."""
    median_latency_ms: float
    """Of one row predicted on its own."""
    learned: int
    """Rows whose text it was fitted on: they tell of its memory."""
    kept_aside: int
    """Rows that training put by for a certificate: whoever looks at their figures first certifies on rows that he chose."""
    accuracy_unseen: float | None
    """On the other rows; None where there are none."""
    out_of_scope: int
    """Rows that are unlike what it learned: their score is 0."""
    calibration_error: float
    """By how much its confidence is off, in the mean."""
    shares: tuple[tuple[float, float], ...]
    """(quality, share): the largest share of the unseen rows, by score, that had this quality. Hindsight, and no certificate."""

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as JSON has it."""
        return {
            "task": self.task,
            "version": self.version,
            "accuracy": self.accuracy,
            "n": self.n,
            "per_class": self.per_class,
            "confusions": [{"label": true, "said": said, "n": n} for true, said, n in self.confusions],
            "unknown_labels": list(self.unknown_labels),
            "median_latency_ms": self.median_latency_ms,
            "learned": self.learned,
            "kept_aside": self.kept_aside,
            "accuracy_unseen": self.accuracy_unseen,
            "out_of_scope": self.out_of_scope,
            "calibration_error": self.calibration_error,
            "hindsight_shares": [{"quality": quality, "share": share} for quality, share in self.shares],
        }


def evaluate(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> Evaluation:
    """Answer labelled rows with the specialist in a folder, and compare.

    Raises InvalidRequest where there are no rows, NotFound or InvalidConfig where there is no sound specialist.
    """
    if len(texts) != len(labels) or not texts:
        raise InvalidRequest(
            f"Give as many labels as texts, and at least one: {len(texts)} texts, {len(labels)} labels."
        )
    specialist, record = specialists.load(folder)
    kept = specialists.kept(folder)
    labels, known = _comparable(specialist, labels)
    answers: list[Prediction] = []
    for start in range(0, len(texts), 1000):
        answers += specialist.predict(texts[start : start + 1000])
    said = [answer.label for answer in answers]
    right = np.array([true == given for true, given in zip(labels, said, strict=True)])
    unseen = np.array([not kept.knows(text_sha256(text)) for text in texts])
    has_fields = specialist.fields[0].name is not None
    accuracy, per_class = score(labels, said, has_fields=has_fields)
    mistakes = Counter((true, given) for true, given in _pairs(labels, said, has_fields) if true != given)
    scores = np.array([answer.score for answer in answers])
    return Evaluation(
        task=record.task,
        version=record.version,
        n=len(texts),
        accuracy=accuracy,
        per_class=per_class,
        confusions=tuple((true, given, n) for (true, given), n in mistakes.most_common(_CONFUSIONS_SHOWN)),
        unknown_labels=tuple(sorted({piece for label in labels for piece in pieces(label, has_fields)} - known)),
        median_latency_ms=_median_latency_ms(specialist, texts[:_TIMED_ROWS]),
        learned=int((~unseen).sum()),
        kept_aside=len({one.text_sha256 for one in kept.certify} & {text_sha256(text) for text in texts}),
        accuracy_unseen=float(right[unseen].mean()) if unseen.any() else None,
        out_of_scope=int((scores == 0).sum()),
        calibration_error=calibration_error(np.array([answer.confidence for answer in answers]), right),
        shares=tuple((quality, hindsight_share(scores[unseen], right[unseen], quality)) for quality in _QUALITIES),
    )


def score(
    labels: Sequence[str], said: Sequence[str], *, has_fields: bool = False
) -> tuple[float, dict[str, dict[str, float]]]:
    """The share that is right, and precision, recall and n of each label (or value of a field) that is true or was said."""
    pairs = _pairs(labels, said, has_fields)
    true_counts, said_counts = Counter(true for true, _ in pairs), Counter(given for _, given in pairs)
    right = Counter(true for true, given in pairs if true == given)
    per_class = {
        label: {
            "precision": right[label] / said_counts[label] if said_counts[label] else 0.0,
            "recall": right[label] / true_counts[label] if true_counts[label] else 0.0,
            "n": true_counts[label],
        }
        for label in sorted(true_counts | said_counts)
    }
    whole = sum(true == given for true, given in zip(labels, said, strict=True))
    return (whole / len(labels) if labels else 0.0), per_class


def _pairs(labels: Sequence[str], said: Sequence[str], has_fields: bool) -> list[tuple[str, str]]:
    """What is true beside what was said: labels, or the values of each field."""
    both = zip(labels, said, strict=True)
    return [
        pair for true, given in both for pair in zip(pieces(true, has_fields), pieces(given, has_fields), strict=True)
    ]


def calibration_error(confidence: NDArray[Any], right: NDArray[np.bool_]) -> float:
    """By how much confidence is off: the mean over 15 groups of equal size of |confidence - share that is right|, by rows.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    off = sum(len(part) * abs(float(confidence[part].mean()) - float(right[part].mean())) for part in parts)
    return off / len(order) if len(order) else 0.0


def hindsight_share(scores: NDArray[Any], right: NDArray[np.bool_], quality: float) -> float:
    """The largest share of rows, the highest scores first, of which so many are right: what nobody can know beforehand."""
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    good = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores go together
    fits = np.flatnonzero((good >= quality) & ends & (scores[order] > 0))
    return float(fits[-1] + 1) / len(order) if len(fits) else 0.0


def _comparable(specialist: Specialist, labels: Sequence[str]) -> tuple[Sequence[str], set[str]]:
    """The labels in the form in which answers are given, and all labels (or values of fields) that it can give."""
    if specialist.fields[0].name is None:
        return labels, set(specialist.labels)
    names = tuple(str(field.name) for field in specialist.fields)
    if fields_of(labels) != names:
        raise InvalidRequest(
            f"This specialist gives the fields {', '.join(names)}. Give each row a JSON object of them as its label."
        )
    known = {f"{field.name}={label}" for field in specialist.fields for label in field.labels}
    return [canonical(label) for label in labels], known


def _median_latency_ms(specialist: Specialist, texts: Sequence[str]) -> float:
    taken: list[float] = []
    for text in texts:
        began = time.perf_counter()
        specialist.predict([text])
        taken.append(time.perf_counter() - began)
    return round(1000 * median(taken), 4)
