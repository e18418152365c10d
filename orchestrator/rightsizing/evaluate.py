"""How good a specialist's answers are, and how quick."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing import specialist_format

_TIMED_ROWS: Final = 500
_CONFUSIONS_SHOWN: Final = 10


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
        }


def evaluate(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> Evaluation:
    """Answer labelled rows with the specialist in a folder, and compare.

    Raises InvalidRequest where there are no rows, NotFound or InvalidConfig where there is no sound specialist.
    """
    if len(texts) != len(labels) or not texts:
        raise InvalidRequest(
            f"Give as many labels as texts, and at least one: {len(texts)} texts, {len(labels)} labels."
        )
    specialist, record = specialist_format.load(folder)
    said: list[str] = []
    for start in range(0, len(texts), 1000):
        said += [prediction.label for prediction in specialist.predict(texts[start : start + 1000])]
    accuracy, per_class = score(labels, said)
    mistakes = Counter((true, given) for true, given in zip(labels, said, strict=True) if true != given)
    return Evaluation(
        task=record.task,
        version=record.version,
        n=len(texts),
        accuracy=accuracy,
        per_class=per_class,
        confusions=tuple((true, given, n) for (true, given), n in mistakes.most_common(_CONFUSIONS_SHOWN)),
        unknown_labels=tuple(sorted(set(labels) - set(specialist.labels))),
        median_latency_ms=_median_latency_ms(specialist, texts[:_TIMED_ROWS]),
    )


def score(labels: Sequence[str], said: Sequence[str]) -> tuple[float, dict[str, dict[str, float]]]:
    """The share that is right, and precision, recall and n of each label that is true or was said."""
    true_counts, said_counts = Counter(labels), Counter(said)
    right = Counter(true for true, given in zip(labels, said, strict=True) if true == given)
    per_class = {
        label: {
            "precision": right[label] / said_counts[label] if said_counts[label] else 0.0,
            "recall": right[label] / true_counts[label] if true_counts[label] else 0.0,
            "n": true_counts[label],
        }
        for label in sorted(true_counts | said_counts)
    }
    return (right.total() / len(labels) if labels else 0.0), per_class


def _median_latency_ms(specialist: specialist_format.Specialist, texts: Sequence[str]) -> float:
    taken: list[float] = []
    for text in texts:
        began = time.perf_counter()
        specialist.predict([text])
        taken.append(time.perf_counter() - began)
    return round(1000 * median(taken), 4)
