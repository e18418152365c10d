"""Certify: gather rows that fitting never saw and no attempt has used, hold the specialist's answers to them, and store what comes of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.flow.context import Context
from orchestrator.rightsizing.evidence.seen import WINDOW_DAYS
from orchestrator.rightsizing.guarantees.by_field import FieldFound, by_field, sentence
from orchestrator.rightsizing.guarantees.certify import Demand, Finding, Scored, certify, grid
from orchestrator.store.rightsizing import audits, certificates, stages
from orchestrator.store.rightsizing.certificates import NewCertificate

Measure = Literal["accuracy", "agreement"]
NONE_YET: Final = "Task {task} has no specialist yet. Train one: rightsize train {task} --labels FILE.csv"
DAYS: Final = 90
"""How long a certificate holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """A row that a specialist's answer can be held to."""

    text_hash: bytes
    score: float
    right: bool
    fields: Mapping[str, bool] = field(default_factory=dict)
    """Of an answer with several fields, whether each is right."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one sampling frame, and the scores on which thresholds are laid without looking at them."""

    held: Sequence[Held]
    unlabelled: Sequence[float]
    """Scores of other texts: the grid of thresholds comes from these."""
    frame: dict[str, Any]
    specialist: str | None = None
    """The version that the scores are of, where they were not read from what it answered."""
    fitted: Sequence[Scored] = ()
    """Labelled rows that are not certified with: they say where to begin, and decide nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be certified."""

    task: str
    target: float
    delta: float
    measure: Measure
    days: int = DAYS
    reference_low: float | None = None
    """The least accuracy of the reference, for the watch over a certificate of accuracy; None where nothing is known of it."""


def newest(context: Context, tenant_id: int, task: str) -> Row[Any]:
    """The newest version of a task with a specialist, which is what a certificate is about; raises NotFound."""
    with context.database.unit_of_work() as session:
        trained = certificates.trained(session, tenant_id, task)
    if trained is None:
        raise NotFound(NONE_YET.format(task=task))
    return trained


def attempt(context: Context, tenant_id: int, asked: Request, rows: Sample | None) -> dict[str, Any]:
    """Make one attempt to certify the newest specialist of a task; gives what it says as JSON has it.

    `rows` are labelled rows for `accuracy`; for `agreement` they are read from the shadow's audits. Raises NotFound or InvalidRequest.
    """
    with context.database.unit_of_work() as session:
        stages.hold(session, tenant_id, asked.task)
        trained = certificates.trained(session, tenant_id, asked.task)
        if trained is None:
            raise NotFound(NONE_YET.format(task=asked.task))
        if rows is None:
            rows = _of_shadow(context, session, tenant_id, asked.task, trained)
        if rows.specialist not in (None, trained.specialist):
            raise InvalidRequest(
                f"Task {asked.task} was trained anew just now. Certify the new one: give the command again."
            )
        if not rows.held:
            raise InvalidRequest(
                f"There are no rows to certify task {asked.task} on: the shadow has compared too few answers of this specialist with those of one "
                f"revision of the reference. Let it answer beside it: rightsize promote {asked.task} --to shadow",
                param="task",
            )
        fresh, known, double = _fresh(session, tenant_id, asked.task, rows.held)
        number = certificates.last_attempt(session, tenant_id, asked.task) + 1
        if not fresh:
            raise none_left(asked.task, len(rows.held), known, double)
        found, fields = _found(Demand(target=asked.target, delta=asked.delta, attempt=number), rows, fresh)
        frame = {**rows.frame, "used_before": known, "duplicates": double}
        revision = (rows.frame.get("revision") or None) if asked.measure == "agreement" else None
        new = _stored(asked, trained, found, fresh, number=number, frame=frame, revision=revision)
        made = certificates.add(session, tenant_id, new, [one.text_hash for one in fresh])
    return {**told(new, found, made), "fields": [one.as_dict() for one in fields]}


def none_left(task: str, rows: int, used: int, double: int) -> InvalidRequest:
    """That no row is left that no attempt has used."""
    return InvalidRequest(
        f"None of the {rows} rows can be used: {used} were used by an earlier attempt, {double} stand twice. "
        f"Certify on new rows: rightsize certify {task} --labels FILE.csv",
        param="labels",
    )


def _found(demand: Demand, rows: Sample, fresh: Sequence[Held]) -> tuple[Finding, list[FieldFound]]:
    """What the rows show; where nothing is issued, also which fields of an answer would have passed by themselves."""
    held = [Scored(one.score, one.right) for one in fresh]
    found = certify(held, grid(rows.unlabelled), demand, rows.fitted)
    if found.issued:
        return found, []
    fields = by_field([one.fields for one in fresh], demand.target, demand.spends)
    return replace(found, reason=found.reason + sentence(fields)), fields


def _fresh(session: Session, tenant_id: int, task: str, held: Sequence[Held]) -> tuple[list[Held], int, int]:
    """Rows by text, each once and none that was used: with how many were used, and how many stood twice."""
    by_text = {one.text_hash: one for one in held}
    used = certificates.used(session, tenant_id, task, list(by_text))
    fresh = [one for text_hash, one in by_text.items() if text_hash not in used]
    return fresh, len(used), len(held) - len(by_text)


def _of_shadow(context: Context, session: Session, tenant_id: int, task: str, trained: Row[Any]) -> Sample:
    """What the reference said of jobs that it answered itself: drawn with a known probability, whatever the specialist's score."""
    since = datetime.now(UTC) - timedelta(days=WINDOW_DAYS)
    found = audits.pairs(session, tenant_id, task, str(trained.specialist), since)
    # Only equal weights make a binomial: of audits that were drawn with several probabilities those of the commonest one count. In a canary
    # only the share that is not its own goes to the reference.
    lots = Counter((row.probability, row.share) for row in found)
    lot = next((one for one, _ in lots.most_common(1)), (None, None))
    knows = _learned_by(context, task, str(trained.specialist))
    # Each text once, before they are halved: none may lay the grid and be certified on as well.
    held = list({
        bytes(row.text_hash): Held(bytes(row.text_hash), row.score, bool(row.agrees))
        for row in found
        if row.text_hash is not None and (row.probability, row.share) == lot and not knows(bytes(row.text_hash))
    }.values())  # fmt: skip
    half = len(held) // 2
    # The first half lays the grid and says where to begin; the second is certified on. In the order of time, both are of all scores.
    first = held[:half]
    frame = {
        "source": "shadow",
        "reference": found[-1].reference if found else None,
        "revision": found[-1].revision if found else None,
        "window": [since.isoformat(), datetime.now(UTC).isoformat()],
        "probability": lot[0],
        "for_the_grid": half,
    }
    fitted = [Scored(one.score, one.right) for one in first]
    return Sample(held[half:], [one.score for one in first] or [0.5], frame, fitted=fitted)


def _learned_by(context: Context, task: str, version: str) -> Callable[[bytes], bool]:
    """Whether a specialist was fitted on a text; of one that lies on another machine nothing is known, and no text is taken out."""
    from orchestrator.learned import specialist as specialists

    folder = specialists.version_folder(context.settings.blobs, task, version)
    return specialists.kept(folder).knows if folder.is_dir() else lambda _: False


def _stored(
    asked: Request,
    trained: Row[Any],
    found: Finding,
    fresh: Sequence[Held],
    *,
    number: int,
    frame: dict[str, Any],
    revision: str | None,
) -> NewCertificate:
    low, high = found.share_interval if found.share_interval is not None else (None, None)
    return NewCertificate(
        ids.uuid7(), asked.task, trained.version, str(trained.specialist), asked.measure, revision, asked.reference_low, number,
        asked.target, asked.delta, found.delta_spent, found.issued, found.threshold, found.share, low, high, found.n, found.accepted,
        found.errors, found.bound, found.more_labels, frame, _digest(fresh), found.reason, asked.days,
    )  # fmt: skip


def _digest(fresh: Sequence[Held]) -> bytes:
    """Of the rows with what was said of them, in an order of their own."""
    digest = hashlib.sha256()
    for one in sorted(fresh, key=lambda held: held.text_hash):
        digest.update(one.text_hash + f"{one.score!r} {one.right}".encode())
    return digest.digest()


def told(new: NewCertificate, found: Finding, made: Row[Any]) -> dict[str, Any]:
    """A certificate as JSON has it."""
    return {
        "id": ids.public("cert", new.public_id), "task": new.task, "task_version": new.task_version, "specialist": new.specialist,
        "measure": new.measure, "attempt": new.attempt, "issued": new.issued, "threshold": new.threshold, "share": new.share,
        "share_interval": None if new.share_low is None else [new.share_low, new.share_high], "target": new.target,
        "delta": new.delta, "delta_spent": new.delta_spent, "n": new.n, "accepted": new.accepted, "errors": new.errors,
        "bound": new.bound, "reference_quality": new.reference_low, "more_labels": found.more_labels, "reason": new.reason, "frame": new.frame,
        "data_sha256": new.data_sha256.hex(), "expires_at": int(made.expires_at.timestamp()),
    }  # fmt: skip
