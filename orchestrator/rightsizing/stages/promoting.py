"""Promote and demote: the steps of a task's specialist, each with its certificate, each recorded with its reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.errors import InvalidRequest, NotFound, ServiceUnavailable
from orchestrator.fleet import Fleet, Model
from orchestrator.flow.context import Context
from orchestrator.promotion import Stage
from orchestrator.rightsizing.guarantees.sequential import Watch
from orchestrator.store import tenants
from orchestrator.store.rightsizing import certificates, stages
from orchestrator.store.rightsizing.stages import NewStage
from orchestrator.telemetry import log, log_fault

CANARY_SHARE: Final = 0.1
OF_TRAFFIC: Final = ("shadow", "drawn to be labelled")
"""Sources of rows that are a sample of the jobs themselves."""
LEAST_WATCHED: Final = 0.5
"""Agreement with the reference, below which audits say nothing of a specialist: chance alone comes near to it."""
AUDIT_SHARES: Final = {"shadow": 0.2, "canary": 0.2, "full": 0.05, "demoted": 0.0}
"""Of a stage's jobs, how many are drawn for an audit where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A step that somebody wants to take."""

    task: str
    to: Stage
    set_by: str
    reference: str | None = None
    share: float | None = None
    audit_share: float | None = None
    automatic: bool = False
    instead_of: int | None = None
    """The stage that must still be in force; None for whichever is."""


def promote(context: Context, tenant_id: int, wish: Wish) -> int:
    """Take a step; returns the stage's id. Raises InvalidRequest that says what is missing for it."""
    if wish.share is not None and wish.to != "canary":
        raise InvalidRequest(
            f"--share is of a canary: in {wish.to} the specialist is asked {'first each time' if wish.to == 'full' else 'beside the reference'}. "
            "Leave it out, or promote --to canary.",
            param="share",
        )
    with context.database.unit_of_work() as session:
        stages.hold(session, tenant_id, wish.task)
        standing = stages.of_task(session, tenant_id, wish.task)
        if wish.instead_of is not None and (standing is None or standing.id != wish.instead_of):
            raise InvalidRequest(
                f"Task {wish.task} has come to another stage meanwhile. Look at it: rightsize stages {wish.task}"
            )
        new = (
            _shadow(context, session, tenant_id, wish)
            if wish.to == "shadow"
            else _certified(context, session, tenant_id, wish, standing)
        )
        stage_id = stages.add(session, tenant_id, new)
        detail = {"stage": new.stage, "specialist": new.specialist, "reason": new.reason}
        tenants.log_act(session, tenant_id, actor=wish.set_by, action="task.promote", target=wish.task, detail=detail)
        return stage_id


def _shadow(context: Context, session: Session, tenant_id: int, wish: Wish) -> NewStage:
    """The stage in which the reference answers; what is learnt in it is what a certificate of agreement rests on."""
    fleet = context.config.fleet
    version = certificates.newest_specialist(session, tenant_id, wish.task)
    if version is None:
        raise NotFound(
            f"Task {wish.task} has no specialist yet. Train one: rightsize train {wish.task} --labels FILE.csv"
        )
    reference = _reference(fleet, wish.reference or fleet.of_tier(context.config.policy.default_tier)[0].name)
    return NewStage(
        wish.task, "shadow", None, version, specialist_model(fleet, wish.task).name, reference.name, None, 0.0,
        _audit_share(wish), None, wish.automatic, "Its specialist is asked beside the reference, and its answers are not delivered.",
        wish.set_by,
    )  # fmt: skip


def _certified(context: Context, session: Session, tenant_id: int, wish: Wish, standing: Row[Any] | None) -> NewStage:
    """A stage in which the specialist answers alone where its certificate says so."""
    found = _certificate(session, tenant_id, wish)
    if wish.audit_share == 0.0:
        raise InvalidRequest(
            "Without audits nothing could ever take it back. Give --audit-share above 0.", param="audit_share"
        )
    fleet = context.config.fleet
    named = wish.reference or (standing.reference if standing is not None else None)
    reference = _reference(fleet, named or fleet.of_tier(context.config.policy.default_tier)[0].name)
    agreed_with = found.frame.get("reference")
    if found.measure == "agreement" and agreed_with not in (None, reference.name):
        raise InvalidRequest(
            f"The certificate is about agreement with {agreed_with}, and says nothing of {reference.name}. Leave --reference out.",
            param="reference",
        )
    share = 1.0 if wish.to == "full" else CANARY_SHARE if wish.share is None else wish.share
    goes_on = (
        standing
        if standing is not None and standing.watch is not None and standing.certificate_id == found.id
        else None
    )
    watch = Watch(watched_target(found), found.delta) if goes_on is None else Watch.from_dict(goes_on.watch)
    bound = f"{found.measure} of {found.target:g} or more on {found.share:.1%} of the rows, with probability {1 - found.delta:g}"
    return NewStage(
        wish.task, wish.to, found.id, found.specialist, specialist_model(fleet, wish.task).name, reference.name, found.threshold,
        share, _audit_share(wish), watch.as_dict(), wish.automatic, f"Its certificate says {bound}.", wish.set_by,
        watched_to=0 if goes_on is None else goes_on.watched_to,
    )  # fmt: skip


def _certificate(session: Session, tenant_id: int, wish: Wish) -> Row[Any]:
    """The certificate that a step rests on; raises InvalidRequest where there is none, or it says nothing of what is asked now."""
    found = certificates.newest_issued(session, tenant_id, wish.task)
    if found is None:
        raise InvalidRequest(
            f"Task {wish.task} has no certificate in force, and is promoted to {wish.to} with one only. "
            f"Certify it: rightsize certify {wish.task} --target 0.98 --delta 0.05",
            param="task",
        )
    version = certificates.newest_specialist(session, tenant_id, wish.task)
    if version != found.specialist:
        raise InvalidRequest(
            f"The certificate is about version {found.specialist} of the specialist, and the current one is {version}. "
            f"Certify that one: rightsize certify {wish.task} --target {found.target:g} --delta {found.delta:g}",
            param="task",
        )
    if certificates.was_edited(session, tenant_id, wish.task, found.task_version):
        raise InvalidRequest(
            f"Task {wish.task} asks something else now than when its specialist was trained. Train it anew, and certify that.",
            param="task",
        )
    if stages.was_demoted(session, tenant_id, wish.task, found.id):
        raise InvalidRequest(
            f"Task {wish.task} was demoted under this certificate: `rightsize stages {wish.task}` says why. Where audits took its promise back, "
            "train it anew; then certify on fresh rows.",
            param="task",
        )
    if found.frame.get("source") not in OF_TRAFFIC and stages.failed_audits(
        session, tenant_id, wish.task, found.specialist
    ):
        raise InvalidRequest(
            f"Audits took back what version {found.specialist} promised, and this certificate is about other rows than those that are asked now. "
            f"Train it anew, or compare it again: rightsize promote {wish.task} --to shadow. A certificate of jobs that were compared or drawn "
            "since then will do.",
            param="task",
        )
    return found


def watched_target(certificate: Row[Any]) -> float:
    """The least agreement with the reference that goes with a certificate.

    Where it is about agreement, that is its target. Where it is about accuracy, both can be right at once on no fewer rows than
    accuracy + the reference's own accuracy - 1 (the union bound): agreement below that means accuracy below the target. A reference of
    which nothing is known is taken to be right as often as the certificate promises, and no oftener: whatever it gets wrong by itself
    would look like the specialist's fault.
    """
    if certificate.measure == "agreement":
        return float(certificate.target)
    reference = float(certificate.target if certificate.reference_low is None else certificate.reference_low)
    least = float(certificate.target) + reference - 1.0
    if least < LEAST_WATCHED:
        raise InvalidRequest(
            f"With an accuracy of {certificate.target:g} and a reference of {reference:g} the two need not agree on more than "
            f"{max(0.0, least):.0%} of the rows: audits could tell nothing. Certify for a higher target, or agreement (--measure agreement).",
            param="task",
        )
    return least


def _audit_share(wish: Wish) -> float:
    return AUDIT_SHARES[wish.to] if wish.audit_share is None else wish.audit_share


def specialist_model(fleet: Fleet, task: str) -> Model:
    """The fleet's model that serves the specialist of a task; raises InvalidRequest where it has none."""
    for model in fleet.models:
        if model.engine == "specialist" and (not model.tasks or task in model.tasks):
            return model
    raise InvalidRequest(
        f'No model of the fleet serves specialists of task {task}. Add one with engine = "specialist" to rightsize.toml.'
    )


def _reference(fleet: Fleet, name: str) -> Model:
    model = fleet.by_name.get(name)
    if model is None or model.engine == "specialist":
        raise InvalidRequest(
            f"The reference must be a model of the fleet that is no specialist, and {name!r} is not. Known: "
            f"{', '.join(one.name for one in fleet.models if one.engine != 'specialist')}.",
            param="reference",
        )
    return model


@contextmanager
def one_task(stage: Row[Any]) -> Iterator[None]:
    """A step of one task: what fails in it holds up no other's."""
    try:
        yield
    except ServiceUnavailable:
        raise
    except Exception as error:
        log_fault("pass_failed", error, task=stage.task)


def freeze(context: Context, tenant_id: int, task: str, *, set_by: str) -> None:
    """Let a task stay in its stage; the stage goes on as it is, and its watch too."""
    with context.database.unit_of_work() as session:
        stages.hold(session, tenant_id, task)
        standing = stages.of_task(session, tenant_id, task)
        if standing is None:
            raise NotFound(
                f"Task {task} was never promoted: there is nothing to hold. Begin with: rightsize promote {task} --to shadow"
            )
        stages.freeze(session, standing.id)
        tenants.log_act(
            session, tenant_id, actor=set_by, action="task.freeze", target=task, detail={"stage": standing.stage}
        )


def demote(context: Context, stage: Row[Any], reason: str, *, set_by: str = "rightsize", audits: int = 0) -> bool:
    """Take a specialist's right to answer alone, and hand what waits for it to the reference; False where somebody else was quicker."""
    with context.database.unit_of_work() as session:
        stages.hold(session, stage.tenant_id, stage.task)
        standing = stages.of_task(session, stage.tenant_id, stage.task)
        if standing is None or standing.id != stage.id:
            return False
        new = NewStage(
            stage.task, "demoted", stage.certificate_id, stage.specialist, stage.model, stage.reference, stage.threshold, 0.0, 0.0, None,
            stage.automatic, reason, set_by,
        )  # fmt: skip
        stages.add(session, stage.tenant_id, new)
        tenants.log_act(
            session, stage.tenant_id, actor=set_by, action="task.demote", target=stage.task, detail={"reason": reason}
        )
    withdrawn = withdraw(context, stage)
    log(
        "demoted",
        logging.WARNING,
        task=stage.task,
        tenant=stage.tenant_id,
        reason=reason,
        audits=audits,
        withdrawn=withdrawn,
    )
    return True


def withdraw(context: Context, stage: Row[Any]) -> int:
    """Hand all that waits for a demoted specialist to the reference, in chunks; returns how many jobs."""
    model = context.config.fleet.by_name.get(stage.reference)
    if model is None:
        return 0
    moved = 0
    while True:
        with context.database.unit_of_work() as session:
            chunk = stages.withdraw(session, stage, model.tier)
        moved += chunk
        if not chunk:
            break
    if moved:
        context.broker.wake()
    return moved
