"""Audit: drawn jobs are answered by another model as well, and the two answers are held against each other.

A specialist whose audits say that its quality is below its target no longer answers alone.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import JobState
from orchestrator.crashpoints import reached
from orchestrator.flow.context import Context
from orchestrator.learned.terms import text_sha256
from orchestrator.promotion import CERTIFIED
from orchestrator.rightsizing.evidence.answers import agrees, answer_of, asked_again, asked_text, score_of
from orchestrator.rightsizing.evidence.bodies import body_of
from orchestrator.rightsizing.guarantees.sequential import Watch
from orchestrator.rightsizing.stages.promoting import demote, one_task, withdraw
from orchestrator.store.rightsizing import audits, certificates, house_jobs, stages
from orchestrator.store.rightsizing.audits import Decided
from orchestrator.store.rightsizing.house_jobs import HouseJob

WITHIN_S: Final = 3_600.0
"""An audit without an answer after so long counts as one that does not agree, unless nobody serves the reference: then it waits. One that
never came to its turn is asked again, for a day."""


def audit_due(context: Context) -> int:
    """Take every step of audits that is due; returns how many audits were asked, decided or given up.

    One orchestrator at a time: audits are seen in the order in which they were asked.
    """
    with context.database.locked("audit") as ours:
        if not ours:
            return 0
        try:
            done = ask_due(context) + decide_due(context)
        finally:  # what ends a certificate is seen, whatever befell those two
            seen = watch_all(context)
        return done + seen


def ask_due(context: Context) -> int:
    """Queue the second answer of each drawn job that has its first; those without anything to compare are void."""
    with context.database.unit_of_work() as session:
        found = audits.answered(session)
    if not found:
        return 0
    # Between two transactions: bodies may lie in the blob store, and no connection waits for that.
    questions = {row.id: _question(context, row) for row in found}
    with context.database.unit_of_work() as session:
        drawn = audits.still_drawn(session, list(questions))
        void = [audit for audit in sorted(drawn) if not _ask(context, session, audit, questions[audit])]
        if void:
            audits.void(session, void)
        reached("audit.before_commit")
    if len(void) < len(drawn):
        context.broker.wake()
    return len(found)


def _question(context: Context, row: Row[Any]) -> HouseJob | None:
    """What the other model is to be asked: only where the drawn one was answered by the model that its kind is about."""
    first, second = row.specialist_model, row.reference
    if row.kind == "shadow":
        first, second = second, first
    model = context.config.fleet.by_name.get(second)
    is_answer = (
        row.state == JobState.SUCCEEDED and row.model == first and (row.rule == CERTIFIED) == (row.kind == "audit")
    )
    if model is None or not is_answer or row.pieces or row.forgotten_at is not None:
        return None
    body = body_of(context, row.body, row.blob_key)
    if body is None:
        return None
    asked = asked_again(body, row.specialist if row.kind == "shadow" else None)
    why = f"It answers a job of task {row.task} again, to compare the two answers."
    return HouseJob(row.job_id, ids.uuid7(), asked, model.tier, model.name, row.kind, why, WITHIN_S)


def _ask(context: Context, session: Session, audit_id: int, question: HouseJob | None) -> bool:
    """Whether there was something to ask, and its document is still here."""
    job_id = None if question is None else house_jobs.put(session, question, context.versions)
    if job_id is None:
        return False
    audits.asked(session, audit_id, job_id)
    return True


def decide_due(context: Context) -> int:
    """Hold the two answers of each audit against each other whose second one has come, or never will."""
    with context.database.unit_of_work() as session:
        found = audits.ended(session, context.settings.lease_s)
    if not found:
        return 0
    waits = [row.id for row in found if row.audit_state != JobState.SUCCEEDED and not row.was_asked]
    verdicts = [_verdict(context, row) for row in found if row.id not in waits]
    with context.database.unit_of_work() as session:
        if waits:  # nobody could have answered: that says nothing of the specialist
            audits.ask_again(session, waits)
        if verdicts:
            audits.decide(session, verdicts)
    return len(verdicts)


def _verdict(context: Context, row: Row[Any]) -> Decided:
    """What the two answers say; one that never came is one that does not agree."""
    first, second = body_of(context, row.answer, row.answer_key), body_of(context, row.other, row.other_key)
    request = body_of(context, row.request, row.request_key)
    of_specialist = second if row.kind == "shadow" else first
    return Decided(
        row.id,
        agrees=first is not None and second is not None and agrees(answer_of(first), answer_of(second)),
        missing=second is None,
        score=None if of_specialist is None else score_of(of_specialist),
        text_hash=None if request is None else text_sha256(asked_text(request)),
    )


def watch_all(context: Context) -> int:
    """Let the watch of every promoted task see its new audits; returns how many were seen."""
    with context.database.unit_of_work() as session:
        found = stages.every(session)
    seen = 0
    for row in found:
        with one_task(row):
            if row.stage in ("canary", "full"):
                seen += _watch(context, row)
            elif row.stage == "demoted":  # what was being read, or waited for another attempt, when it was demoted
                withdraw(context, row)
    return seen


def _watch(context: Context, stage: Row[Any]) -> int:
    """Demote a specialist whose certificate has expired, or whose audits say that it is below its target."""
    with context.database.unit_of_work() as session:
        # Whoever promotes it reads what the watch has seen: it sees all of that, or none.
        stages.hold(session, stage.tenant_id, stage.task)
        seen = audits.unseen(session, stage, stage.watched_to)
        watch = Watch.from_dict(stage.watch)
        for _, agreed in seen:
            watch.add(agreed)
            if watch.demotes:
                break
        if seen and not stages.watched(session, stage.id, watch.as_dict(), seen[-1][0]):
            return 0  # another orchestrator was quicker
        ended = _ended(session, stage)
    if watch.demotes:
        demote(context, stage, f"Audits say that its quality is below the target: {watch.told}", audits=watch.seen)
    elif ended is not None:
        demote(context, stage, ended, audits=watch.seen)
    return len(seen)


def _ended(session: Session, stage: Row[Any]) -> str | None:
    """Why a certificate holds no longer, whatever the audits say; None while it does."""
    if stage.is_expired:
        return "Its certificate has expired. Certify it again on fresh rows, and promote it."
    if certificates.was_edited(session, stage.tenant_id, stage.task, stage.task_version):
        return "The task asks something else now than when its specialist was trained. Train it anew, and certify that."
    if stage.measure == "agreement" and stage.certified_reference is not None:
        revision = audits.revision_now(session, stage.tenant_id, stage.task, stage.id)
        if revision is not None and revision != stage.certified_reference:
            return (
                f"The reference has another revision now ({revision}, not {stage.certified_reference}): what agreed with one may not agree "
                "with the other. Promote it to the shadow, and certify it again."
            )
    return None
