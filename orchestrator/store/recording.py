"""Outcomes into rows: state, attempt, result, ledger and reservation, all within the caller's one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import ClaimedJob, Fence, JobState, Outcome
from orchestrator.store import review
from orchestrator.store.session import copy_rows

_MOVE: Final = """
    UPDATE jobs SET state = x.state, attempts = x.attempts, held_usd = CASE WHEN x.state >= 10 THEN 0 ELSE held_usd END,
        ended_at = CASE WHEN x.state >= 10 THEN now() END, requeued = requeued OR x.state = 1,
        alone = alone OR x.state = 1, losses = CASE WHEN x.state = 1 THEN greatest(losses, 2) ELSE losses END,
        retry_at = CASE WHEN x.state = 3 THEN now() + make_interval(secs => x.delay_s) END,
        fault_code = x.code, fault_message = x.message
    FROM unnest(CAST(:ids AS bigint[]), CAST(:dispatches AS bigint[]), CAST(:states AS smallint[]), CAST(:attempts AS smallint[]),
        CAST(:delays AS float8[]), CAST(:codes AS text[]), CAST(:messages AS text[]))
        AS x(id, dispatch_id, state, attempts, delay_s, code, message)
    WHERE jobs.id = x.id AND jobs.dispatch_id = x.dispatch_id AND jobs.state = 2
    RETURNING jobs.id, x.dispatch_id"""
MOVE: Final = text(_MOVE)
OPEN_INTERVALS: Final = """
    SELECT id, model FROM machine_intervals WHERE worker_id = :worker AND ended_at IS NULL FOR KEY SHARE"""
# Holds what it finds until the flush commits: no interval ends while an attempt is about to join it.
MOVE_METERED: Final = text(
    f"WITH open AS ({OPEN_INTERVALS}) {_MOVE}, (SELECT o.id FROM open o WHERE o.model = jobs.model) AS interval_id"
)
OPEN_NOW: Final = text(OPEN_INTERVALS)
# It stands in its lane again, as work of its owner: who escalates much has no more of the next tier than a fair share.
ESCALATE: Final = text("""
    UPDATE jobs SET state = 1, requeued = false, attempts = x.attempts, earlier_attempts = x.attempts, alone = false, losses = 0,
        tier = x.tier, model = x.model, cascade = x.cascade,
        held_usd = held_usd - x.released, worst_usd = greatest(worst_usd - x.charge, 0), fault_code = x.code, fault_message = x.message
    FROM unnest(CAST(:ids AS bigint[]), CAST(:dispatches AS bigint[]), CAST(:attempts AS smallint[]), CAST(:tiers AS text[]),
        CAST(:models AS text[]), CAST(:cascades AS text[]), CAST(:released AS numeric[]), CAST(:charges AS numeric[]), CAST(:codes AS text[]), CAST(:messages AS text[]))
        AS x(id, dispatch_id, attempts, tier, model, cascade, released, charge, code, message)
    WHERE jobs.id = x.id AND jobs.dispatch_id = x.dispatch_id AND jobs.state = 2
    RETURNING jobs.id, x.dispatch_id
""")
ATTEMPT_COLUMNS: Final = (
    "job_id", "attempt", "dispatch_id", "outcome", "tier", "model", "model_revision", "price_version", "policy_version",
    "fleet_version", "simulated", "fault_code", "fault_message", "engine_s", "input_tokens", "cached_tokens", "output_tokens",
    "reasoning_tokens", "images", "audio_seconds", "interval_id", "detail",
)  # fmt: skip
TRANSFER_COLUMNS: Final = (
    "job_id", "attempt", "kind", "debit_account", "credit_account", "amount_usd", "tenant_id", "project_id", "api_key_id",
    "batch_id", "tier", "model", "price_version",
)  # fmt: skip
RESULT_COLUMNS: Final = ("stored_on", "job_id", "attempt", "body", "blob_key")


@dataclass(frozen=True, slots=True)
class Next:
    """The model that takes over from another in a cascade, its tier, and what is left of the cascade behind it."""

    tier: str
    model: str
    cascade: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """One job's step: the state that follows its outcome, and what is booked for the attempt."""

    job: ClaimedJob
    outcome: Outcome
    state: JobState
    delay_s: float
    """Until the retry, when the state is WAITING."""
    cost_usd: Decimal
    charge_usd: Decimal
    blob_key: str | None = None
    then: Next | None = None
    """What takes over from an answer that was not accepted."""
    noted: str | None = None
    """Fields of an answer about a document at which people may have to look, as JSON."""

    @property
    def released_usd(self) -> Decimal:
        """What is given back of the job's hold: all of it at its end, and as much as was charged where another model takes over."""
        held = self.job.held_usd
        return held if self.state >= JobState.SUCCEEDED else min(held, self.charge_usd) if self.then else Decimal(0)


@dataclass(frozen=True, slots=True)
class Metered:
    """The worker that brings outcomes, and those of its models that are priced by the hour."""

    worker: UUID
    models: frozenset[str]


def move(session: Session, moves: Sequence[Move], metered: Metered | None = None) -> dict[Fence, int | None]:
    """Move the jobs that still belong to their dispatch: their fence -> the machine's interval that the attempt joins, or None.

    What a late worker brings changes nothing. What one brings whose interval was ended, since it was not heard of, joins none.
    """
    escalated = [one for one in moves if one.then]
    if not escalated:
        return _move(session, moves, metered)
    plain = [one for one in moves if not one.then]
    # In the order of ids, as whoever sweeps does.
    return (_move(session, plain, metered) if plain else {}) | _escalate(session, escalated, metered)


def _escalate(session: Session, moves: Sequence[Move], metered: Metered | None) -> dict[Fence, int | None]:
    """Queue the jobs again for the models that take over."""
    faults = [m.outcome.fault for m in moves]
    nexts = [m.then for m in moves if m.then]
    values = {
        "ids": [m.job.id for m in moves], "dispatches": [m.job.dispatch_id for m in moves], "attempts": [m.job.attempt for m in moves],
        "tiers": [one.tier for one in nexts], "models": [one.model for one in nexts],
        "cascades": [" ".join(one.cascade) or None for one in nexts],
        "released": [m.released_usd for m in moves], "charges": [m.charge_usd for m in moves],
        "codes": [f.code if f else None for f in faults], "messages": [f.message if f else None for f in faults],
    }  # fmt: skip
    taken: dict[Fence, int | None] = dict.fromkeys(
        (row.id, row.dispatch_id) for row in session.execute(ESCALATE, values)
    )
    if metered is not None and any(m.job.model in metered.models for m in moves):
        now_open = {row.model: row.id for row in session.execute(OPEN_NOW, {"worker": metered.worker})}
        taken |= {m.job.fence: now_open.get(m.job.model) for m in moves if m.job.fence in taken}
    return taken


def _move(session: Session, moves: Sequence[Move], metered: Metered | None) -> dict[Fence, int | None]:
    faults = [m.outcome.fault for m in moves]
    values = {
        "ids": [m.job.id for m in moves], "dispatches": [m.job.dispatch_id for m in moves],
        "states": [int(m.state) for m in moves], "attempts": [m.job.attempt for m in moves],
        "delays": [m.delay_s for m in moves], "codes": [f.code if f else None for f in faults],
        "messages": [f.message if f else None for f in faults],
    }  # fmt: skip
    if metered is None or not any(m.job.model in metered.models for m in moves):
        return dict.fromkeys((row.id, row.dispatch_id) for row in session.execute(MOVE, values))
    taken: dict[Fence, int | None] = {
        (row.id, row.dispatch_id): row.interval_id
        for row in session.execute(MOVE_METERED, {**values, "worker": metered.worker})
    }
    priced = [m.job for m in moves if m.job.model in metered.models]
    without = {job.fence: job.model for job in priced if taken.get(job.fence, 0) is None}
    if without:
        # Its interval ended in this very moment: the statement could not see the next one yet.
        now_open = {row.model: row.id for row in session.execute(OPEN_NOW, {"worker": metered.worker})}
        taken |= {fence: now_open.get(model) for fence, model in without.items()}
    return taken


def write(session: Session, won: Sequence[Move], intervals: Mapping[Fence, int | None]) -> None:
    """COPY attempts, ledger transfers and results of the jobs that were moved; what people should look at goes on their list."""
    if not won:
        return
    copy_rows(session, "attempts", ATTEMPT_COLUMNS, (_attempt(m, intervals.get(m.job.fence)) for m in won))
    copy_rows(session, "transfers", TRANSFER_COLUMNS, (row for m in won for row in _transfers(m)))
    results = [m for m in won if m.state is JobState.SUCCEEDED]
    if results:
        rows = (
            (m.job.stored_on, m.job.id, m.job.attempt, None if m.blob_key else m.outcome.body, m.blob_key)
            for m in results
        )
        copy_rows(session, "results", RESULT_COLUMNS, rows)
        review.put(session, [(m.job.id, m.noted) for m in results if m.noted])


def _attempt(m: Move, interval_id: int | None) -> tuple[object, ...]:
    job, outcome, usage, fault = m.job, m.outcome, m.outcome.usage, m.outcome.fault
    return (
        job.id, job.attempt, job.dispatch_id, str(outcome.kind), job.tier, job.model, outcome.model_revision, job.price_version,
        job.policy_version, job.fleet_version, outcome.simulated, fault.code if fault else None,
        fault.message if fault else None, outcome.engine_s, usage.input_tokens, usage.cached_tokens, usage.output_tokens,
        usage.reasoning_tokens, usage.images, usage.audio_seconds, interval_id, fault.detail if fault else None,
    )  # fmt: skip


def _transfers(m: Move) -> list[tuple[object, ...]]:
    """A cost for every attempt, borne by the caller if it answered and by us if not or if it was for us; a charge for a success.

    An answer that was not accepted is charged as well, apart. What an answer took beyond the most that was held for it is an
    overrun, which we bear.
    """
    job, owner = m.job, m.job.owner
    succeeded = (m.state is JobState.SUCCEEDED or m.then is not None) and not job.unbilled
    tail = (owner.tenant_id, owner.project_id, owner.api_key_id, job.batch_id, job.tier, job.model, job.price_version)
    bearer = "cost:caller" if succeeded else "cost:house"
    rows: list[tuple[object, ...]] = [(job.id, job.attempt, "cost", bearer, f"model:{job.model}", m.cost_usd, *tail)]
    if succeeded:
        rows.append(
            (
                job.id,
                job.attempt,
                "rejected" if m.then else "charge",
                f"project:{owner.project_id}",
                "revenue",
                m.charge_usd,
                *tail,
            )
        )
        if m.cost_usd > m.charge_usd:
            beyond = m.cost_usd - m.charge_usd
            rows.append((job.id, job.attempt, "overrun", "overrun:house", "revenue", beyond, *tail))
    return rows
