"""What is written down of a training: its record, and what whoever trained it should know. Pure but for the clock."""

from __future__ import annotations

import hashlib
import platform
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from orchestrator.learned import encoder as encoders
from orchestrator.learned.classifier import Specialist
from orchestrator.learned.encoder import Encoder
from orchestrator.learned.heads import GAMMA
from orchestrator.learned.record import Kept, TrainingRecord
from orchestrator.learned.specialist import model_sha256
from orchestrator.rightsizing.training import calibration, fitting
from orchestrator.rightsizing.training.evaluate import score
from orchestrator.rightsizing.training.fitting import Target
from orchestrator.rightsizing.training.labels import named, pieces
from orchestrator.rightsizing.training.splits import MOST_FITTED, Group, Split, truth_of

_LISTED: Final = 20
_LOOKED: Final = 500


@dataclass(frozen=True, slots=True)
class Rows:
    """What is given, and how it is divided."""

    texts: list[str]
    labels: list[str]
    groups: list[Group]
    split: Split
    seed: int

    @property
    def fit_texts(self) -> list[str]:
        """The text of each group that is fitted on."""
        return [self.texts[group.rows[0]] for group in self.split.fit]

    @property
    def certify(self) -> list[tuple[str, str]]:
        """Text and right answer of each row kept aside."""
        return [
            (self.texts[at], self.labels[at]) for at in (truth_of(group, self.seed) for group in self.split.certify)
        ]


@dataclass(frozen=True, slots=True)
class Made:
    """What training came to."""

    specialist: Specialist
    kept: Kept
    cross_said: tuple[str, ...]
    """Of each row that was fitted on, what heads say that had not seen it."""
    cross_fitted: dict[str, Any]
    label_noise: dict[str, Any]


def record_of(
    task: str, rows: Rows, made: Made, encoder: Encoder | None, targets: Sequence[Target], seconds: float
) -> TrainingRecord:  # fmt: skip
    """The record of a training that took so many seconds, with a new version's name."""
    now = datetime.now(UTC)
    has_fields = targets[0].name is not None
    if made.cross_said:
        truth, said = [str(group.label) for group in rows.split.fit], list(made.cross_said)
    else:
        truth, said = [one.given for one in made.kept.certify], [one.said for one in made.kept.certify]
    accuracy, per_class = score(truth, said, has_fields=has_fields)
    commonest = Counter(str(group.label) for group in rows.split.fit).most_common(1)[0][0]
    return TrainingRecord(
        task=task,
        version=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        n=len(rows.texts),
        labels=tuple(
            label if target.name is None else f"{target.name}={label}" for target in targets for label in target.labels
        ),
        class_counts=dict(
            sorted(Counter(piece for label in rows.labels for piece in pieces(label, has_fields)).items())
        ),
        held_out_n=len(truth),
        held_out_accuracy=accuracy,
        baseline_accuracy=truth.count(commonest) / len(truth) if truth else 0.0,
        per_class=per_class,
        duplicates=len(rows.texts) - len(rows.groups),
        features=made.specialist.ngrams.size,
        seed=rows.seed,
        trained_at=now.isoformat(timespec="seconds"),
        seconds=seconds,
        libraries=_libraries(encoder is not None),
        data_sha256=_digest(rows.texts, rows.labels),
        options=_options(rows),
        model_sha256=model_sha256(made.specialist),
        encoder=None if encoder is None else _encoder(encoder),
        splits={
            "fit": len(rows.split.fit),
            "certify": len(made.kept.certify),
            "left_out": rows.split.left_out,
            "contradictory": sum(group.contradictory for group in rows.groups),
        },
        cross_fitted=made.cross_fitted,
        label_noise=made.label_noise,
        contradictions=_contradictions(rows),
        notes=tuple(_notes(rows, made, encoder, has_fields)),
    )


def _contradictions(rows: Rows) -> dict[str, Any]:
    found = [group for group in rows.groups if group.contradictory]
    listed = [
        {"rows": [at + 1 for at in group.rows[:_LISTED]], "labels": sorted({rows.labels[at] for at in group.rows})[:_LISTED], "taken": group.label}
        for group in found[:_LISTED]
    ]  # fmt: skip
    return {"n": len(found), "listed": listed}


def _notes(rows: Rows, made: Made, encoder: Encoder | None, has_fields: bool) -> list[str]:
    """What whoever trains should know, each with what to do."""
    notes = []
    counts = Counter(piece for group in rows.split.fit for piece in pieces(str(group.label), has_fields))
    lost = sorted({piece for label in set(rows.labels) for piece in pieces(label, has_fields)} - counts.keys())
    small = sorted(label for label, count in counts.items() if count < calibration.FOLDS)
    if encoder is None:
        notes.append(f"It learned n-grams alone. With sentence vectors it is better at English: {encoders.INSTALL}")
    elif _is_foreign(rows):
        notes.append(
            f"Most of what it learned is in no Latin letters. Its sentence encoder reads {', '.join(encoders.LANGUAGES)}: here n-grams alone tell "
            "the labels apart, and what lies outside of them is seen less well."
        )
    if not made.cross_fitted:
        notes.append(f"Nothing is calibrated: that takes {calibration.LEAST_ROWS} distinct texts. Give more labels.")
    if not made.kept.certify:
        notes.append(
            "No rows are kept aside to certify it. Give more labels, or certify on others: rightsize certify --labels FILE."
        )
    if lost:
        notes.append(f"No row is left to learn these labels from: {named(lost)}. Give more rows of them.")
    if small:
        notes.append(
            f"These labels have fewer than {calibration.FOLDS} texts to learn from: {named(small)}. Give more rows of them."
        )
    if rows.split.left_out:
        notes.append(
            f"{rows.split.left_out:,} texts were left out: their rows have several labels and none has most of them"
            + (
                f", or they are beyond the {MOST_FITTED:,} that are fitted."
                if len(rows.split.fit) >= MOST_FITTED
                else "."
            )
        )
    if made.label_noise["n"]:
        notes.append(
            f"Labels that look wrong: {made.label_noise['n']}. The record's `label_noise` lists them by their rows; look at them and train again."
        )
    if any(group.contradictory for group in rows.groups):
        notes.append(
            "Some texts have several labels; the record's `contradictions` lists them. Where most agree, that label was taken."
        )
    return notes


def _is_foreign(rows: Rows) -> bool:
    """Whether most letters of most of the first texts are of another alphabet than the encoder's."""
    looked = rows.fit_texts[:_LOOKED]
    foreign = sum(2 * sum(char > "\u024f" for char in text) > len(text) for text in looked)
    return 2 * foreign > len(looked)


def _digest(texts: Sequence[str], labels: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        for part in (text, label):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _libraries(with_encoder: bool) -> dict[str, str]:
    import scipy
    import sklearn

    found = {"python": platform.python_version(), "numpy": np.__version__, "scipy": str(scipy.__version__)}
    found |= {"scikit-learn": str(sklearn.__version__), "processor": platform.machine()}
    if with_encoder:
        import onnxruntime
        import tokenizers

        found |= {"onnxruntime": str(onnxruntime.__version__), "tokenizers": str(tokenizers.__version__)}
    return found


def _encoder(encoder: Encoder) -> dict[str, Any]:
    return {
        "model": encoders.MODEL,
        "sha256": encoder.sha256,
        "licence": encoders.LICENCE,
        "package": encoders.PACKAGE,
        "languages": list(encoders.LANGUAGES),
    }


def _options(rows: Rows) -> dict[str, Any]:
    return {
        "words": "1-2",
        "chars": "char_wb 3-5",
        "most_words": fitting.MOST_WORDS,
        "most_chars": fitting.MOST_CHARS,
        "margin_cost": fitting.MARGIN_COST,
        "kernel_gamma": GAMMA,
        "kernel_ridge": fitting.KERNEL_RIDGE,
        "most_kept": fitting.MOST_KEPT,
        "most_fitted": MOST_FITTED,
        "folds": calibration.FOLDS,
        "certify_rows": len(rows.split.certify),
    }
