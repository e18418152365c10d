"""Labelled rows that a specialist's answers can be held to: those kept aside at its training, or those of a file that it never saw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.learned import specialist as specialists
from orchestrator.learned.record import Kept
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.evidence.answers import agrees
from orchestrator.rightsizing.guarantees.certify import Scored
from orchestrator.rightsizing.stages.certifying import Held, Rows
from orchestrator.rightsizing.training.labels import read_labels

AT_ONCE = 500


def reserved(blobs: Path, task: str) -> Rows:
    """The rows that training kept aside; raises InvalidRequest where there are none."""
    folder = _folder(blobs, task)
    kept = specialists.kept(folder)
    if not kept.certify:
        raise InvalidRequest(
            f"Training kept no rows of task {task} aside. Give labelled rows that it was not trained on: rightsize certify {task} --labels FILE.csv"
        )
    held = [Held(one.text_sha256, one.score, one.right) for one in kept.certify]
    return Rows(
        held, _unlabelled(kept), {"source": "kept aside at training", "rows": len(held)}, folder.name, _fitted(kept)
    )


def of_file(blobs: Path, task: str, file: Path, text_column: str, label_column: str) -> Rows:
    """The rows of a labelled file, answered by the task's specialist; raises InvalidRequest for rows that it was trained on."""
    folder = _folder(blobs, task)
    specialist, _ = specialists.load(folder)
    kept = specialists.kept(folder)
    texts, labels = read_labels(file, text_column, label_column)
    fresh = [(text, label) for text, label in zip(texts, labels, strict=True) if not kept.knows(text_sha256(text))]
    if not fresh:
        raise InvalidRequest(
            f"The specialist of task {task} was trained on all {len(texts):,} rows of {file.name}. Give others.",
            param="labels",
        )
    said: list[Any] = []
    for start in range(0, len(fresh), AT_ONCE):
        said += specialist.predict([text for text, _ in fresh[start : start + AT_ONCE]])
    held = [
        Held(text_sha256(text), one.score, agrees(one.label, label))
        for (text, label), one in zip(fresh, said, strict=True)
    ]
    frame = {
        "source": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "rows": len(texts),
        "learned_from": len(texts) - len(fresh),
    }
    return Rows(held, _unlabelled(kept), frame, folder.name, _fitted(kept))


def _folder(blobs: Path, task: str) -> Path:
    folder = specialists.current_folder(blobs, task)
    if folder is None:
        raise InvalidRequest(f"Task {task} has no specialist yet. Train one: rightsize train {task} --labels FILE.csv")
    return folder


def _fitted(kept: Kept) -> Sequence[Scored]:
    """Rows that heads answered which had not seen them: they say where to begin."""
    return [Scored(score, right) for score, right in kept.fitted]


def _unlabelled(kept: Kept) -> Sequence[float]:
    """Scores on which thresholds are laid: of rows that are not certified with."""
    return [score for score, _ in kept.fitted] or [one / 20 for one in range(1, 20)]
