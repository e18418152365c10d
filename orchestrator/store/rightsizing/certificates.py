"""Certificates: attempts to certify a specialist, issued or not, and the texts that each has used up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

ADD: Final = text("""
    INSERT INTO certificates (public_id, tenant_id, task, task_version, specialist, measure, reference, reference_low, attempt, target,
        delta, delta_spent, issued, threshold, share, share_low, share_high, n, accepted, errors, bound, more_labels, frame, data_sha256, reason,
        expires_at)
    VALUES (:public_id, :tenant, :task, :task_version, :specialist, :measure, :reference, :reference_low, :attempt, :target, :delta,
        :delta_spent, :issued, :threshold, :share, :share_low, :share_high, :n, :accepted, :errors, :bound, :more_labels, CAST(:frame AS jsonb),
        :data_sha256, :reason, now() + make_interval(days => :days))
    RETURNING id, created_at, expires_at
""")
USE: Final = text("""
    INSERT INTO certification_rows (tenant_id, task, text_hash, certificate_id)
    SELECT :tenant, :task, x.hash, :certificate FROM unnest(CAST(:hashes AS bytea[])) AS x(hash)
""")
USED: Final = text("""
    SELECT r.text_hash FROM certification_rows r JOIN unnest(CAST(:hashes AS bytea[])) AS x(hash) ON x.hash = r.text_hash
    WHERE r.tenant_id = :tenant AND r.task = :task
""")
LAST_ATTEMPT: Final = text(
    "SELECT coalesce(max(attempt), 0) FROM certificates WHERE tenant_id = :tenant AND task = :task"
)
NEWEST_ISSUED: Final = text("""
    SELECT * FROM certificates WHERE tenant_id = :tenant AND task = :task AND issued AND expires_at > now() ORDER BY id DESC LIMIT 1
""")
OF_TASK: Final = text(
    "SELECT * FROM certificates WHERE tenant_id = :tenant AND task = :task ORDER BY id DESC LIMIT :limit"
)
# Training makes a version of its task.
SPECIALIST: Final = text("""
    SELECT version, specialist, training FROM tasks WHERE tenant_id = :tenant AND name = :task AND specialist IS NOT NULL
        AND (CAST(:specialist AS text) IS NULL OR specialist = :specialist)
    ORDER BY version DESC LIMIT 1
""")
# Of every training in a period: how long it took, and on which day.
TRAININGS: Final = text("""
    SELECT CAST(training->>'seconds' AS float8) AS seconds, (created_at AT TIME ZONE 'UTC')::date AS day FROM tasks
    WHERE tenant_id = :tenant AND name = :task AND training IS NOT NULL AND created_at >= :since AND created_at < :until
""")
IN_FORCE: Final = text("""
    SELECT * FROM certificates WHERE tenant_id = :tenant AND task = :task AND issued AND expires_at > now()
        AND (id = :certificate OR CAST(:certificate AS bigint) IS NULL AND specialist = :specialist)
    ORDER BY id DESC LIMIT 1
""")

# What a task asks, and what it may be answered with: its targets, limits and tiers change nothing of what a certificate says.
_ASKS: Final = """
    SELECT (SELECT jsonb_object_agg(key, value) FROM jsonb_each(definition)
        WHERE key IN ('instructions', 'output_schema', 'examples', 'checks', 'parameters')) AS asks
    FROM tasks WHERE tenant_id = :tenant AND name = :task AND definition IS NOT NULL AND based_on IS NULL
"""
WAS_EDITED: Final = text(f"""
    SELECT EXISTS (
        SELECT FROM ({_ASKS} AND version < :version ORDER BY version DESC LIMIT 1) AS before,
            ({_ASKS} AND version > :version ORDER BY version DESC LIMIT 1) AS since
        WHERE before.asks IS DISTINCT FROM since.asks
    )
""")
HELD_TO_A_FORM: Final = text("""
    SELECT coalesce(definition->'output_schema', 'null') <> 'null' OR jsonb_array_length(coalesce(definition->'checks', '[]')) > 0 FROM tasks
    WHERE tenant_id = :tenant AND name = :task AND definition IS NOT NULL ORDER BY version DESC LIMIT 1
""")
TARGET: Final = text("""
    SELECT CAST(definition->>'quality_target' AS float8) FROM tasks
    WHERE tenant_id = :tenant AND name = :task AND definition IS NOT NULL ORDER BY version DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """An attempt, as it is stored."""

    public_id: UUID
    task: str
    task_version: int
    specialist: str
    measure: str
    reference: str | None
    reference_low: float | None
    attempt: int
    target: float
    delta: float
    delta_spent: float
    issued: bool
    threshold: float | None
    share: float | None
    share_low: float | None
    share_high: float | None
    n: int
    accepted: int
    errors: int
    bound: float | None
    more_labels: int | None
    frame: Mapping[str, Any]
    data_sha256: bytes
    reason: str
    days: int
    """How long it holds."""


def add(session: Session, tenant_id: int, new: NewCertificate, hashes: Sequence[bytes]) -> Row[Any]:
    """Store an attempt with the texts that it rests on; gives its id, when it was made and when it expires."""
    values = {name: getattr(new, name) for name in new.__dataclass_fields__} | {"frame": json.dumps(new.frame)}
    made = session.execute(ADD, {**values, "tenant": tenant_id}).one()
    session.execute(USE, {"tenant": tenant_id, "task": new.task, "hashes": list(hashes), "certificate": made.id})
    return made


def used(session: Session, tenant_id: int, task: str, hashes: Sequence[bytes]) -> set[bytes]:
    """Those of some texts that an earlier attempt has used up."""
    found = session.execute(USED, {"tenant": tenant_id, "task": task, "hashes": list(hashes)}).scalars()
    return {bytes(one) for one in found}


def last_attempt(session: Session, tenant_id: int, task: str) -> int:
    """The number of the last attempt to certify a task; 0 before the first."""
    return int(session.execute(LAST_ATTEMPT, {"tenant": tenant_id, "task": task}).scalar_one())


def newest_issued(session: Session, tenant_id: int, task: str) -> Row[Any] | None:
    """The newest certificate of a task that was issued and has not expired."""
    return session.execute(NEWEST_ISSUED, {"tenant": tenant_id, "task": task}).one_or_none()


def of_task(session: Session, tenant_id: int, task: str, *, limit: int = 50) -> Sequence[Row[Any]]:
    """The attempts to certify a task, newest first."""
    return session.execute(OF_TASK, {"tenant": tenant_id, "task": task, "limit": limit}).all()


def trained(session: Session, tenant_id: int, task: str, specialist: str | None = None) -> Row[Any] | None:
    """The newest specialist of a task, or the one of that version: which version of the task it made, and its training record."""
    return session.execute(SPECIALIST, {"tenant": tenant_id, "task": task, "specialist": specialist}).one_or_none()


def trainings(session: Session, tenant_id: int, task: str, since: datetime, until: datetime) -> Sequence[Row[Any]]:
    """The seconds that each training of a task in a period took, with its day."""
    values = {"tenant": tenant_id, "task": task, "since": since, "until": until}
    return session.execute(TRAININGS, values).all()


def in_force(
    session: Session, tenant_id: int, task: str, specialist: str, certificate_id: int | None
) -> Row[Any] | None:
    """The certificate on which a stage rests; without one the newest of this specialist that holds. None where there is none."""
    values = {"tenant": tenant_id, "task": task, "specialist": specialist, "certificate": certificate_id}
    return session.execute(IN_FORCE, values).one_or_none()


def newest_specialist(session: Session, tenant_id: int, task: str) -> str | None:
    """The version of the newest specialist of a task."""
    found = trained(session, tenant_id, task)
    return None if found is None else str(found.specialist)


def was_edited(session: Session, tenant_id: int, task: str, version: int) -> bool:
    """Whether a task asks something else now than when the specialist was trained that made this version of it."""
    values = {"tenant": tenant_id, "task": task, "version": version}
    return bool(session.execute(WAS_EDITED, values).scalar_one())


def held_to_a_form(session: Session, tenant_id: int, task: str) -> bool:
    """Whether a task's definition asks for a form of its answers, or for checks of them."""
    return bool(session.execute(HELD_TO_A_FORM, {"tenant": tenant_id, "task": task}).scalar_one_or_none())


def quality_target(session: Session, tenant_id: int, task: str) -> float | None:
    """The quality that a task's definition asks for; None where it says none, or there is none."""
    found: float | None = session.execute(TARGET, {"tenant": tenant_id, "task": task}).scalar_one_or_none()
    return found
