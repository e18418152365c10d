"""Submit: a single job in one transaction, or a batch whose rows are read afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.crashpoints import reached
from orchestrator.errors import (
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    RightsizeError,
    ServiceUnavailable,
    TierUnavailable,
)
from orchestrator.fleet import Fleet
from orchestrator.flow import tasks
from orchestrator.flow.admit import OverBudget, admit, check_backpressure, note_refusal
from orchestrator.flow.context import Context
from orchestrator.flow.erasing import deleted
from orchestrator.flow.prepare import prepare
from orchestrator.flow.quotas import check_jobs_queued
from orchestrator.hints import NO_HINTS, Hints, check_no_deadline, hints_from, is_number, usd_from, window_seconds
from orchestrator.requests import ACCEPTED
from orchestrator.store import batches, files, single
from orchestrator.store.batches import NewBatch
from orchestrator.store.jobs import NewJob

OF_BATCHES: Final = ("on_invalid_row", "parameters", "task_version", "refresh")
"""Hints that are for a batch, and not for a request."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was accepted, or that an idempotency key had already made."""

    public_id: UUID
    job: NewJob
    """The request as it was routed now."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A batch made of another's rows: which one, and what its caller said. The file is ours, and a new one each time."""

    batch_id: int
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is checked and routed, and not stored yet."""

    owner: Owner
    public_id: UUID
    job: NewJob
    digest: bytes
    """Of the request: what its idempotency key is bound to."""
    within_s: float
    key: str | None
    reply_to: str
    """The Redis stream on which its caller waits; empty for the job's own."""


def submit_job(
    context: Context,
    owner: Owner,
    endpoint: str,
    body: Any,
    *,
    interactive: bool,
    within_s: float,
    idempotency_key: str | None = None,
) -> Submitted:
    """Accept one request as a job, durably, in one transaction; an interactive one is assigned and published at once.

    Raises a Refused error with the remedy, or Busy. The same idempotency key with the same request gives the same job.
    """
    return accept(
        context,
        prepare_job(
            context, owner, endpoint, body, interactive=interactive, within_s=within_s, idempotency_key=idempotency_key
        ),
    )


def prepare_job(
    context: Context,
    owner: Owner,
    endpoint: str,
    body: Any,
    *,
    interactive: bool,
    within_s: float,
    idempotency_key: str | None,
    public_id: UUID | None = None,
    reply_to: str = "",
) -> Prepared:
    """Check and route a request; raises a Refused error with the remedy."""
    public_id = public_id or ids.uuid7()
    job = prepare(
        context, endpoint, body, NO_HINTS, context.situation(owner.tenant_id),
        public_id=public_id.hex, interactive=interactive,
    )  # fmt: skip
    digest = b"" if idempotency_key is None else _digest(endpoint, body)
    return Prepared(owner, public_id, job, digest, min(within_s, job.within_s or within_s), idempotency_key, reply_to)


def _digest(endpoint: str, body: Any) -> bytes:
    """Of a request: what its idempotency key is bound to."""
    return hashlib.sha256(endpoint.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def known_job(context: Context, owner: Owner, endpoint: str, body: Any, idempotency_key: str | None) -> UUID | None:
    """The job that this very request made before; None where there is none.

    For one that is refused now, since its model or its quota is another: it was accepted, and sending it again must say so.
    """
    if idempotency_key is None:
        return None
    with context.database.unit_of_work(owner.tenant_id) as session:
        found = single.recall_key(session, owner.tenant_id, idempotency_key)
    return found[1] if found is not None and found[0] == _digest(endpoint, body) else None


def accept(context: Context, asked: Prepared) -> Submitted:
    """Store a request as a job, durably, in one transaction, and publish an interactive one; raises as `submit_job` does."""
    try:
        made = _stored(context, asked)
    except ServiceUnavailable:  # it may be stored all the same
        raise
    except RightsizeError:
        deleted(context.blobs, _blobs_of(asked))
        raise
    if made.public_id != asked.public_id:
        deleted(context.blobs, _blobs_of(asked))
    return made


def _blobs_of(asked: Prepared) -> list[str]:
    return [asked.job.blob_key] if asked.job.blob_key else []


def _stored(context: Context, asked: Prepared) -> Submitted:
    owner, job, key = asked.owner, asked.job, asked.key
    try:
        with context.database.unit_of_work(owner.tenant_id) as session:
            if key is not None and not single.remember_key(
                session, owner.tenant_id, key, asked.digest, asked.public_id
            ):
                return Submitted(same_request(single.recall_key(session, owner.tenant_id, key), asked.digest), job)
            check_backpressure(context, session)
            check_jobs_queued(context, session, owner, 1)
            dispatch_id = single.add(
                session, owner, job, context.versions, within_s=asked.within_s, claim_by_s=context.settings.claim_by_s
            )
            admit(session, owner, job.held_usd)
            reached("submit.before_commit")
    except OverBudget as error:
        note_refusal(context, owner, error)
        raise
    except IntegrityError as error:
        raise InvalidRequest("The request holds text that cannot be stored, such as a NUL character.") from error
    reached("submit.after_commit")
    if dispatch_id is not None:
        publish(context, [(asked, dispatch_id)])
    else:
        context.broker.wake(job.model)
    return Submitted(asked.public_id, job)


def publish(context: Context, made: Sequence[tuple[Prepared, int]]) -> None:
    """Send interactive dispatches; if Redis does not answer, the recovery pass does: the jobs are already safe."""
    fleet = context.config.fleet
    context.broker.publish_later_if_down(
        [
            (fleet.queue_of(fleet.named(one.job.model), interactive=True), dispatch_id, one.reply_to)
            for one, dispatch_id in made
        ]
    )


def same_request(found: tuple[bytes, UUID] | None, digest: bytes) -> UUID:
    """What an idempotency key was bound to; raises IdempotencyConflict unless it was bound to the same request."""
    if found is None or found[0] != digest:
        raise IdempotencyConflict(
            "This Idempotency-Key was used with another request. Use a new key for a new request."
        )
    return found[1]


def create_batch(
    context: Context, owner: Owner, *, input_file: UUID, endpoint: str, window: str, metadata: Mapping[str, str] | None,
    hints: Mapping[str, Any] | None, idempotency_key: str | None = None, output_expires_s: int | None = None,
    repeat: Repeat | None = None,
) -> Row[Any]:  # fmt: skip
    """Create a batch as `validating`; the reader takes it from there. Returns its row.

    `hints` is the batch's `rightsize` object: defaults for its rows, `max_cost_usd` for the whole of it, and
    `on_invalid_row` (`fail` as OpenAI does it, or `report` to give such rows a line in the error file).
    """
    hints = dict(hints or {})
    shared_hints(hints, endpoint, context.config.fleet)
    window_s = window_seconds(window)
    described = (
        repeat.asked
        if repeat
        else {
            "file": input_file.hex,
            "endpoint": endpoint,
            "window": window,
            "metadata": metadata,
            "hints": hints,
            "expires": output_expires_s,
        }
    )
    digest = hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).digest()
    public_id = ids.uuid7()
    with context.database.unit_of_work(owner.tenant_id) as session:
        if idempotency_key is not None and not single.remember_key(
            session, owner.tenant_id, idempotency_key, digest, public_id
        ):
            known = same_request(single.recall_key(session, owner.tenant_id, idempotency_key), digest)
            return _existing(batches.find(session, owner.tenant_id, known))
        check_backpressure(context, session)
        file = files.find(session, owner.tenant_id, input_file)
        if file is None:
            raise NotFound(
                f"There is no file {ids.public('file', input_file)}. Upload it with purpose=batch first.",
                param="input_file_id",
            )
        if file.purpose != "batch":
            raise InvalidRequest(
                f"The file {ids.public('file', input_file)} has purpose {file.purpose}. Upload the input with purpose=batch.",
                param="input_file_id",
            )
        hints = _with_task(session, owner, hints)
        new = NewBatch(
            endpoint, window, window_s, file.id, metadata, hints, usd_from(hints.get("max_cost_usd"), "max_cost_usd"),
            retry_of=repeat.batch_id if repeat else None, output_expires_s=output_expires_s,
        )  # fmt: skip
        batch_id = batches.add(session, owner, public_id, new)
        row = batches.get(session, batch_id)
    context.broker.wake("read")
    return row


def _existing(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise IdempotencyConflict("This Idempotency-Key was used for something that is not a batch. Use a new key.")
    return row


def _check_of_batches(hints: Mapping[str, Any]) -> None:
    """Check what is for batches alone."""
    if hints.get("on_invalid_row", "fail") not in ("fail", "report"):
        raise InvalidRequest("`rightsize.on_invalid_row` must be fail or report.", param="on_invalid_row")
    if not isinstance(hints.get("parameters"), (dict, type(None))):
        raise InvalidRequest('`rightsize.parameters` must be an object, such as {"labels": [...]}.', param="parameters")
    version = hints.get("task_version")
    if version is not None and not (isinstance(version, int) and is_number(version, 1, 10**6)):
        raise InvalidRequest(
            "`rightsize.task_version` must be a version of the task, a whole number.", param="task_version"
        )
    if not isinstance(hints.get("refresh"), (bool, type(None))):
        raise InvalidRequest("`rightsize.refresh` must be true or false.", param="refresh")


def shared_hints(hints: Mapping[str, Any], endpoint: str, fleet: Fleet) -> Hints:
    """The hints that a batch's rows share, checked as all that its creation checks; raises a Refused error with the remedy."""
    if endpoint not in ACCEPTED:
        raise InvalidRequest(
            f"Endpoint {endpoint[:80]!r} is not served. Use one of {', '.join(sorted(ACCEPTED))}.", param="endpoint"
        )
    _check_of_batches(hints)
    given = hints_from({key: value for key, value in hints.items() if key not in OF_BATCHES})
    check_no_deadline(given)
    tier, tiers = given.tier, fleet.tiers
    fleet.check_adapter(given.adapter)
    if tier is not None and tier not in tiers:
        raise TierUnavailable(
            f"No model of the fleet serves {tier}; it serves {', '.join(tiers)}. Name one of them, leave the tier to auto, "
            "or add a model in rightsize.toml.",
            param="rightsize",
        )
    return hints_from(shared_in(hints) or None)


def shared_in(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a batch's hints that each of its rows has as well."""
    return {key: value for key, value in hints.items() if key not in (*OF_BATCHES, "max_cost_usd")}


def _with_task(session: Session, owner: Owner, hints: dict[str, Any]) -> dict[str, Any]:
    """The hints with the version of the batch's task, where it has a definition; raises what is wrong with its parameters."""
    parameters = hints.pop("parameters", None)
    name, pinned = hints.get("task"), hints.pop("task_version", None)
    if name is None:
        if parameters is not None or pinned is not None:
            raise InvalidRequest("`parameters` and `task_version` are of a task: give `rightsize.task`.", param="task")
        return hints
    if parameters is None and pinned is None and not tasks.is_defined(session, owner, name):
        return hints  # a name of repetitive work, and no more
    version = tasks.resolve(session, owner, name, pinned, parameters or {})
    return {**hints, "task_version": version.version}
