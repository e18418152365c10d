"""Labelled rows that a specialist's answers can be held to: kept aside at its training, drawn from its traffic, or of a file that it never saw."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.flow.context import Context
from orchestrator.learned import specialist as specialists
from orchestrator.learned.classifier import Specialist
from orchestrator.learned.record import Kept
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.evidence.answers import agrees, asked_text, fields_right, unknown_labels
from orchestrator.rightsizing.evidence.bodies import GONE, body_of
from orchestrator.rightsizing.evidence.kept_aside import KeptAside
from orchestrator.rightsizing.evidence.seen import WINDOW_DAYS
from orchestrator.rightsizing.guarantees.certify import Scored
from orchestrator.rightsizing.stages import certifying
from orchestrator.rightsizing.stages.certifying import Held, Sample
from orchestrator.rightsizing.training.labels import named, read_labels
from orchestrator.store.rightsizing import certificates, labels

AT_ONCE: Final = 500
MOST_MISSING: Final = 0.05
"""Of drawn jobs, that may have no label when a certificate is tried: the attempt uses all of them up."""
Used = Callable[[Sequence[bytes]], Set[bytes]]
"""Of some texts, by their hashes, those that an attempt has used."""


@dataclass(frozen=True, slots=True)
class ToLabel:
    """A job's text that was drawn for people to label."""

    text: str
    label: str | None
    probability: float


def reserved(aside: KeptAside) -> Sample:
    """The rows that training kept aside, as far as no attempt has used them."""
    kept = aside.kept or Kept((), (), frozenset())
    held = [Held(one.text_sha256, one.score, one.right, fields_right(one.said, one.given)) for one in aside.rows]
    held += [Held(text_hash, 1.0, right=False) for text_hash in aside.disputed]
    return Sample(held, _unlabelled(kept), dict(aside.frame or {}), aside.version, _fitted(kept))


def of_file(folder: Path, task: str, file: Path, text_column: str, label_column: str, used_of: Used) -> Sample:
    """The rows of a labelled file, answered by the specialist in a folder; `used_of` tells which texts an attempt has used.

    Raises InvalidRequest where it was trained on all of them, or cannot give any of their labels, or all of them were used.
    """
    kept = specialists.kept(folder)
    specialist, record = specialists.load(folder)
    texts, given = read_labels(file, text_column, label_column)
    fresh = [(text, label) for text, label in zip(texts, given, strict=True) if not kept.knows(text_sha256(text))]
    if not fresh:
        raise InvalidRequest(
            f"The specialist of task {task} was trained on all {len(texts):,} rows of {file.name}. Give others.",
            param="labels",
        )
    strange = set(unknown_labels(record.labels, [label for _, label in fresh]))
    unknown = sum(label in strange for _, label in fresh)
    if unknown == len(fresh):
        raise InvalidRequest(
            f"The specialist of task {task} cannot give any of the labels of {file.name}: it knows {named(record.labels)}. Is it the right file "
            "and column? Nothing was tried.",
            param="labels",
        )
    hashes = {text_sha256(text) for text, _ in fresh}
    if hashes <= used_of(list(hashes)):
        raise certifying.none_left(task, len(fresh), len(hashes), len(fresh) - len(hashes))
    frame = {
        "source": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "rows": len(texts),
        "learned_from": len(texts) - len(fresh),
        "unknown_labels": unknown,
        "window": None,  # whoever made the file knows when they were asked
    }
    return Sample(_held(specialist, fresh), _unlabelled(kept), frame, folder.name, _fitted(kept))


def of_jobs(context: Context, tenant_id: int, task: str, folder: Path) -> Sample:
    """Jobs that were drawn for people to label, answered by the specialist in a folder; raises InvalidRequest where too few have a label.

    Which jobs were drawn hangs on nothing that is in them. Which of these got a label may: the few that have none count as wrong.
    """
    kept = specialists.kept(folder)
    since = datetime.now(UTC) - timedelta(days=WINDOW_DAYS)
    with context.database.unit_of_work() as session:
        found = labels.drawn(session, tenant_id, task, since)
    # Between two transactions: bodies may lie in the blob store, and no connection waits for that.
    asked = [
        ToLabel(asked_text(body_of(context, row.request, row.request_key) or GONE), row.label, row.to_label)
        for row in found
    ]
    rows = [one for one in asked if one.text.strip() and not kept.knows(text_sha256(one.text))]
    with context.database.unit_of_work() as session:
        used = certificates.used(session, tenant_id, task, [text_sha256(one.text) for one in rows])
    fresh = [one for one in rows if text_sha256(one.text) not in used]
    # Only equal weights make a binomial: rows of one draw, that with the most labels, and none of another.
    counted = Counter(one.probability for one in fresh if one.label is not None)
    if not counted:
        raise InvalidRequest(
            f"No rows of task {task} are left to certify on: those kept aside at training are used, and no job that was drawn in the last "
            f"{WINDOW_DAYS} days has a label. Draw some: rightsize label {task} --draw 500 --out to-label.csv. Or give a file with rows that "
            f"it was not trained on: rightsize certify {task} --labels FILE.csv",
            param="labels",
        )
    probability = counted.most_common(1)[0][0]
    ours = [(one.text, one.label) for one in fresh if one.probability == probability]
    missing = sum(label is None for _, label in ours)
    if missing > MOST_MISSING * len(ours):
        raise InvalidRequest(
            f"{missing:,} of {len(ours):,} jobs that were drawn for people to label have no label yet, and whichever were left out would count as "
            f"wrong. `rightsize label {task} --draw {missing} --out to-label.csv` writes them again; give those that nobody can tell the label unknown.",
            param="labels",
        )
    frame = {
        "source": "drawn to be labelled", "window": [since.isoformat(), datetime.now(UTC).isoformat()], "rows": len(found), "learned_from": len(found) - len(rows),
        "probability": probability, "of_other_draws": len(fresh) - len(ours), "without_a_label": missing,
    }  # fmt: skip
    specialist, _ = specialists.load(folder)
    return Sample(_held(specialist, ours), _unlabelled(kept), frame, folder.name, _fitted(kept))


def _held(specialist: Specialist, rows: Sequence[tuple[str, str | None]]) -> list[Held]:
    """What the specialist says of each text, held to its label."""
    said: list[Any] = []
    for start in range(0, len(rows), AT_ONCE):
        said += specialist.predict([text for text, _ in rows[start : start + AT_ONCE]])
    return [
        Held(text_sha256(text), one.score, agrees(one.label, label), fields_right(one.label, label))
        for (text, label), one in zip(rows, said, strict=True)
    ]


def _fitted(kept: Kept) -> Sequence[Scored]:
    """Rows that heads answered which had not seen them: they say where to begin."""
    return [Scored(score, right) for score, right in kept.fitted]


def _unlabelled(kept: Kept) -> Sequence[float]:
    """Scores on which thresholds are laid: of rows that are not certified with."""
    return [score for score, _ in kept.fitted] or [one / 20 for one in range(1, 20)]
