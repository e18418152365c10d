"""Dispatches: assigned by the orchestrator, claimed by a worker, kept by a lease, lost or ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import ClaimedJob, Owner

CAPACITY: Final = text("""
    SELECT
        (SELECT coalesce(sum(slots), 0) FROM workers WHERE model = :model AND last_seen > now() - make_interval(secs => :seen)),
        (SELECT count(*) FROM workers WHERE model = :model AND last_seen > now() - make_interval(secs => :seen)),
        (SELECT avg(latency_s) FROM workers WHERE model = :model AND last_seen > now() - make_interval(secs => :seen)),
        (SELECT coalesce(sum(size), 0) FROM dispatches WHERE model = :model AND ended_at IS NULL AND NOT interactive),
        (SELECT count(*) FROM dispatches WHERE model = :model AND ended_at IS NULL AND NOT interactive),
        (SELECT count(*) FROM dispatches WHERE model = :model AND ended_at IS NULL AND alone)
""")
_TAKEN: Final = "state = 2, dispatch_id = (SELECT id FROM made), assigned_at = now()"
_MORE: Final = ", (SELECT max(upto_usd) FROM picked)"
_MAKE: Final = """
    made AS (
        INSERT INTO dispatches (tier, model, alone, one_by_one, job_ids, size, claim_by)
        SELECT :tier, :model, :alone, {one_by_one}, array_agg(id ORDER BY attempts, prefix_hash, id), count(*), now() + make_interval(secs => :claim_by)
        FROM picked HAVING count(*) > 0 RETURNING id
    ), taken AS (
        UPDATE jobs SET {taken}
        FROM picked WHERE jobs.id = picked.id
    )
    SELECT (SELECT id FROM made), (SELECT count(*) FROM picked), last.prefix_hash, last.id {more}
    FROM (SELECT prefix_hash, id FROM picked ORDER BY prefix_hash DESC, id DESC LIMIT 1) last
"""
ASSIGN: Final = text(f"""
    WITH picked AS MATERIALIZED (
        SELECT id, prefix_hash, attempts FROM jobs
        WHERE model = :model AND lane = :lane AND state = 1 AND NOT requeued AND (prefix_hash, id) > (:prefix, :after)
        ORDER BY prefix_hash, id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), {_MAKE.format(one_by_one="false", taken=_TAKEN, more="")}
""")
# Of jobs whose owner has a budget only as many as can cost at most what is left of it: from here on that is what they hold.
ASSIGN_WITHIN: Final = text(f"""
    WITH locked AS MATERIALIZED (
        SELECT id, prefix_hash, attempts, greatest(coalesce(worst_usd, held_usd) - held_usd, 0) AS more_usd FROM jobs
        WHERE model = :model AND lane = :lane AND state = 1 AND NOT requeued AND (prefix_hash, id) > (:prefix, :after)
        ORDER BY prefix_hash, id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), summed AS MATERIALIZED (
        SELECT *, sum(more_usd) OVER (ORDER BY prefix_hash, id) AS upto_usd FROM locked
    ), picked AS MATERIALIZED (
        SELECT * FROM summed WHERE upto_usd <= :room
    ), {_MAKE.format(one_by_one="false", taken=f"{_TAKEN}, held_usd = held_usd + picked.more_usd", more=_MORE)}
""")
IS_QUEUED: Final = text("""
    SELECT EXISTS (SELECT FROM jobs WHERE model = :model AND lane = :lane AND state = 1 AND NOT requeued
        AND (prefix_hash, id) > (:prefix, :after))
""")
_BACK: Final = """
    FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
    WHERE j.model = :model AND j.state = 1 AND j.requeued AND j.alone = :alone
        AND (b.id IS NULL OR b.status = 'in_progress' AND b.paused_at IS NULL)
        AND j.tenant_id <> ALL(CAST(:not_tenants AS bigint[])) AND j.project_id <> ALL(CAST(:not_projects AS bigint[]))
"""
ASSIGN_REQUEUED: Final = text(f"""
    WITH first AS MATERIALIZED (
        SELECT j.losses > 1 AS one_by_one {_BACK} ORDER BY j.attempts, j.id LIMIT 1
    ), picked AS MATERIALIZED (
        SELECT j.id, j.prefix_hash, j.attempts {_BACK} AND (j.losses > 1) = (SELECT one_by_one FROM first)
        ORDER BY j.attempts, j.id LIMIT CASE WHEN (SELECT one_by_one FROM first) THEN :in_turn ELSE :limit END
        FOR UPDATE OF j SKIP LOCKED
    ), {_MAKE.format(one_by_one="(SELECT one_by_one FROM first)", taken=_TAKEN, more="")}
""")
CLAIM: Final = text("""
    UPDATE dispatches SET worker_id = :worker, claimed_at = now(), lease_until = now() + make_interval(secs => :lease)
    WHERE id = :dispatch AND claimed_at IS NULL AND ended_at IS NULL AND (:alone OR NOT alone)
    RETURNING model, size, interactive, alone, one_by_one, set_config('synchronous_commit', 'off', true)
""")
IS_SUSPECT: Final = text("""
    SELECT EXISTS (SELECT FROM dispatches WHERE id = :dispatch AND alone AND claimed_at IS NULL AND ended_at IS NULL)
""")
CLAIMED: Final = """j.id, j.public_id, j.tenant_id, j.project_id, j.api_key_id, j.batch_id, j.attempts, j.tier, j.model, j.endpoint, j.task,
        j.price_version, j.policy_version, j.fleet_version, j.interactive, j.deadline, j.held_usd, j.worst_usd, j.cascade, j.parent_job_id,
        j.stored_on, j.earlier_attempts, j.unbilled,
        extract(epoch FROM j.deadline - now())::float8 AS seconds_left, r.body, r.blob_key"""
CLAIMED_JOBS: Final = text(f"""
    SELECT {CLAIMED}
    FROM unnest((SELECT job_ids FROM dispatches WHERE id = :dispatch)) WITH ORDINALITY AS x(id, place)
    JOIN jobs j ON j.id = x.id AND j.dispatch_id = :dispatch AND j.state = 2
    JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
    LEFT JOIN batches b ON b.id = j.batch_id
    WHERE b.id IS NULL OR b.status <> 'cancelling'
    ORDER BY x.place
""")
RENEW: Final = text("""
    WITH ours AS MATERIALIZED (
        SELECT id FROM dispatches WHERE id = ANY(CAST(:dispatches AS bigint[])) AND ended_at IS NULL
            AND (worker_id = :worker OR claimed_at IS NULL)
    ), free AS (
        SELECT id FROM dispatches WHERE id IN (SELECT id FROM ours) ORDER BY id FOR UPDATE SKIP LOCKED
    ), renewed AS (
        UPDATE dispatches SET lease_until = now() + make_interval(secs => :lease), worker_id = :worker,
            claimed_at = coalesce(claimed_at, now())
        FROM free WHERE dispatches.id = free.id
    ) SELECT id FROM ours
""")
STILL_OURS: Final = text("""
    SELECT j.id FROM unnest(CAST(:jobs AS bigint[]), CAST(:dispatches AS bigint[])) AS x(id, dispatch_id)
    JOIN jobs j ON j.id = x.id LEFT JOIN batches b ON b.id = j.batch_id
    WHERE j.state = 2 AND j.dispatch_id = x.dispatch_id AND (b.id IS NULL OR b.status <> 'cancelling')
""")
END: Final = text("""
    UPDATE dispatches SET ended_at = now(), ending = :ending WHERE id = ANY(CAST(:dispatches AS bigint[])) AND ended_at IS NULL
""")
END_LEFT: Final = text("""
    UPDATE dispatches d SET ended_at = now(), ending = 'given_back' WHERE d.id = :dispatch AND d.ended_at IS NULL
        AND d.worker_id = :worker
        AND NOT EXISTS (
            SELECT FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
            WHERE j.id = ANY(d.job_ids) AND j.dispatch_id = d.id AND j.state = 2 AND (b.id IS NULL OR b.status <> 'cancelling')
        )
""")
DUE: Final = text("""
    UPDATE dispatches SET publishes = publishes + 1, claim_by = now() + make_interval(secs => :claim_by)
    WHERE id IN (
        SELECT id FROM dispatches WHERE ended_at IS NULL AND claimed_at IS NULL AND claim_by <= now() AND publishes < :most
        ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED
    ) RETURNING id, model, interactive
""")
UNCLAIMED: Final = text("""
    SELECT id FROM dispatches WHERE ended_at IS NULL AND claimed_at IS NULL AND claim_by <= now() AND publishes >= :most
    ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
""")
LOST: Final = text("""
    SELECT id, one_by_one OR size = 1 FROM dispatches WHERE ended_at IS NULL AND claimed_at IS NOT NULL AND lease_until <= now()
    ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
""")
_HELD: Final = """
    FROM unnest((SELECT job_ids FROM dispatches WHERE id = :dispatch)) WITH ORDINALITY AS x(id, place)
    JOIN jobs j ON j.id = x.id AND j.dispatch_id = :dispatch AND j.state = 2
"""
HELD_JOBS: Final = text(f"SELECT j.*, x.place {_HELD} ORDER BY j.id FOR UPDATE OF j SKIP LOCKED")
HELD_COUNT: Final = text(f"SELECT count(*) {_HELD}")
REQUEUE: Final = text("""
    UPDATE jobs SET state = 1, requeued = true, alone = alone OR :suspect, losses = least(losses + CAST(:lost AS int), 9)
    FROM unnest(CAST(:jobs AS bigint[])) AS x(id)
    WHERE jobs.id = x.id AND jobs.dispatch_id = :dispatch AND jobs.state = 2
""")
FORGET: Final = text("""
    DELETE FROM dispatches WHERE id IN (
        SELECT id FROM dispatches WHERE ended_at < now() - interval '1 hour' ORDER BY id LIMIT 5000
    )
""")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a model's live workers can run, and what is outstanding at them."""

    slots: int
    workers: int
    latency_s: float | None
    """Their own measured median, if they have one."""
    outstanding_jobs: int
    outstanding_dispatches: int
    outstanding_alone: int
    """Dispatches of jobs that were in a lost dispatch."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A new dispatch, and the place in its lane after it."""

    dispatch_id: int
    jobs: int
    prefix_hash: int
    last_id: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A dispatch that this worker now holds."""

    dispatch_id: int
    model: str
    size: int
    interactive: bool
    alone: bool
    """Its jobs are suspects."""
    one_by_one: bool
    """Each of them is recorded before the next begins."""


@dataclass(frozen=True, slots=True)
class Published:
    """A dispatch whose message is to be sent."""

    dispatch_id: int
    model: str
    interactive: bool


def capacity(session: Session, model: str, seen_s: float) -> Capacity:
    """Slots and outstanding bulk work of a model, in one round trip."""
    row = session.execute(CAPACITY, {"model": model, "seen": seen_s}).one()
    return Capacity(int(row[0]), int(row[1]), row[2], int(row[3]), int(row[4]), int(row[5]))


def assign(
    session: Session, *, tier: str, model: str, lane: int, after: tuple[int, int], limit: int, claim_by_s: float
) -> Assigned | None:
    """Put up to `limit` queued jobs of a lane, beyond the place `after`, into a new dispatch; None if there are none."""
    values = {
        "tier": tier, "model": model, "lane": lane, "prefix": after[0], "after": after[1], "limit": limit, "claim_by": claim_by_s,
        "alone": False,
    }  # fmt: skip
    row = session.execute(ASSIGN, values).one_or_none()
    return Assigned(*row) if row else None


def assign_within(
    session: Session, *, tier: str, model: str, lane: int, after: tuple[int, int], limit: int, claim_by_s: float, room_usd: Decimal
) -> tuple[Assigned, Decimal] | None:  # fmt: skip
    """The same, of jobs that can cost no more than `room_usd` beyond what they hold; also how much more they hold now."""
    values = {
        "tier": tier, "model": model, "lane": lane, "prefix": after[0], "after": after[1], "limit": limit, "claim_by": claim_by_s,
        "alone": False, "room": room_usd,
    }  # fmt: skip
    row = session.execute(ASSIGN_WITHIN, values).one_or_none()
    return (Assigned(*row[:4]), row[4]) if row else None


def is_queued(session: Session, *, model: str, lane: int, after: tuple[int, int]) -> bool:
    """Whether anything is queued in a lane beyond a place."""
    values = {"model": model, "lane": lane, "prefix": after[0], "after": after[1]}
    return bool(session.execute(IS_QUEUED, values).scalar_one())


def assign_requeued(
    session: Session, *, tier: str, model: str, alone: bool, limit: int, in_turn: int, claim_by_s: float,
    not_tenants: Sequence[int] = (), not_projects: Sequence[int] = (),
) -> Assigned | None:  # fmt: skip
    """Put up to `limit` jobs that came back into a new dispatch, or up to `in_turn` where they run one after the other.

    With `alone` they are suspects: a small group that was lost once, or those that were lost more often, one after the other.
    Jobs of `not_tenants` and `not_projects` wait.
    """
    values = {
        "tier": tier, "model": model, "alone": alone, "limit": limit, "in_turn": in_turn, "claim_by": claim_by_s,
        "not_tenants": list(not_tenants), "not_projects": list(not_projects),
    }  # fmt: skip
    row = session.execute(ASSIGN_REQUEUED, values).one_or_none()
    return Assigned(*row) if row else None


def claim(session: Session, dispatch_id: int, worker: UUID, lease_s: float, *, alone: bool) -> Claim | None:
    """Start a worker's lease on a dispatch, or None if it is claimed, ended, unknown, or a suspect and `alone` is false.

    The transaction does not wait for the disk: a claim that a crash of the server forgets is claimed again, and of two workers
    that run one dispatch only one can record each job.
    """
    values = {"dispatch": dispatch_id, "worker": worker, "lease": lease_s, "alone": alone}
    row = session.execute(CLAIM, values).one_or_none()
    return Claim(dispatch_id, row.model, row.size, row.interactive, row.alone, row.one_by_one) if row else None


def is_suspect(session: Session, dispatch_id: int) -> bool:
    """Whether a dispatch waits for a claim and holds jobs that were in a lost dispatch."""
    return bool(session.execute(IS_SUSPECT, {"dispatch": dispatch_id}).scalar_one())


def claimed_jobs(session: Session, dispatch_id: int) -> list[tuple[ClaimedJob, str | None]]:
    """All jobs of a claimed dispatch with their bodies, and the blob key of a body that lies apart."""
    found = session.execute(CLAIMED_JOBS, {"dispatch": dispatch_id}).all()
    return [(claimed_job(row, dispatch_id), row.blob_key) for row in found]


def claimed_job(row: Row[Any], dispatch_id: int) -> ClaimedJob:
    """A job from a row with the columns `CLAIMED`."""
    return ClaimedJob(
        id=row.id,
        public_id=row.public_id.hex,
        owner=Owner(row.tenant_id, row.project_id, row.api_key_id),
        batch_id=row.batch_id,
        dispatch_id=dispatch_id,
        attempt=row.attempts + 1,
        tier=row.tier,
        model=row.model,
        endpoint=row.endpoint,
        task=row.task,
        price_version=row.price_version,
        policy_version=row.policy_version,
        fleet_version=row.fleet_version,
        interactive=row.interactive,
        deadline=row.deadline,
        seconds_left=row.seconds_left,
        held_usd=row.held_usd,
        stored_on=row.stored_on,
        body=row.body or b"",
        worst_usd=row.worst_usd,
        cascade=tuple((row.cascade or "").split()),
        earlier_attempts=row.earlier_attempts,
        is_piece=row.parent_job_id is not None,
        unbilled=row.unbilled,
    )


def renew(session: Session, dispatch_ids: Sequence[int], worker: UUID, lease_s: float) -> set[int]:
    """Renew a worker's leases; returns those that it still holds.

    A claim that a crash of the server forgot is made again, if nobody else has made it. One whose row somebody locks is
    ending just now, by the worker's own recorder.
    """
    values = {"dispatches": list(dispatch_ids), "worker": worker, "lease": lease_s}
    return set(session.execute(RENEW, values).scalars())


def still_ours(session: Session, jobs: Sequence[tuple[int, int]]) -> set[int]:
    """Of the given (job, dispatch) pairs, the jobs that are still to be run: not cancelled, expired or handed on."""
    values = {"jobs": [job for job, _ in jobs], "dispatches": [dispatch for _, dispatch in jobs]}
    return set(session.execute(STILL_OURS, values).scalars())


def end(session: Session, dispatch_ids: Sequence[int], ending: str) -> None:
    """Say that dispatches are over: `done`, `lost`, `unclaimed` or `given_back`."""
    session.execute(END, {"dispatches": list(dispatch_ids), "ending": ending})


def end_left(session: Session, dispatch_id: int, worker: UUID) -> None:
    """End a worker's dispatch unless jobs of it that nobody sweeps are unrecorded: its lease is all that protects those."""
    session.execute(END_LEFT, {"dispatch": dispatch_id, "worker": worker})


def due_for_publishing(session: Session, claim_by_s: float, most: int) -> list[Published]:
    """Unclaimed dispatches whose message must be sent (again), marked as sent."""
    return [Published(*row) for row in session.execute(DUE, {"claim_by": claim_by_s, "most": most})]


def unclaimed(session: Session, most: int) -> list[int]:
    """Dispatches, locked, that nobody claimed after `most` messages."""
    return list(session.execute(UNCLAIMED, {"most": most}).scalars())


def lost(session: Session) -> list[tuple[int, bool]]:
    """Dispatches, locked, whose lease has ended by the database's clock, and whether only one job ran in each at a time."""
    return [(row[0], row[1]) for row in session.execute(LOST)]


def held_jobs(session: Session, dispatch_id: int) -> Sequence[Row[Any]] | None:
    """The jobs that still belong to a dispatch, in their places in it, locked; None while somebody else holds one of them.

    Waiting for a worker that records would be short, for one that froze while it recorded long.
    """
    held = session.execute(HELD_JOBS, {"dispatch": dispatch_id}).all()
    if len(held) < session.execute(HELD_COUNT, {"dispatch": dispatch_id}).scalar_one():
        return None
    return sorted(held, key=lambda row: int(row.place))


def requeue(
    session: Session, dispatch_id: int, job_ids: Sequence[int], *, suspect: bool = False, lost: bool = False
) -> None:
    """Queue jobs of a dispatch again; `suspect` says that one of them may end workers, `lost` that each of them may have done so now."""
    values = {"dispatch": dispatch_id, "jobs": list(job_ids), "suspect": suspect, "lost": lost}
    session.execute(REQUEUE, values)


def forget_ended(session: Session) -> int:
    """Delete a chunk of dispatches that ended over an hour ago; returns how many."""
    return int(session.execute(FORGET).rowcount)  # type: ignore[attr-defined]
