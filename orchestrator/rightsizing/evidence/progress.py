"""How far a task's specialist has come: its stage, the certificate in force, the rows left for another, and what its trainings took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from orchestrator.rightsizing.evidence.facts import CertificateFacts, Interval, Source, StageFacts
from orchestrator.rightsizing.evidence.kept_aside import kept_aside
from orchestrator.rightsizing.evidence.seen import WINDOW_DAYS, Seen
from orchestrator.store.rightsizing import audits, certificates, labels


def stage_facts(seen: Seen, stage: Row[Any] | None, trained: Row[Any] | None) -> StageFacts:
    """How far the specialist was let, with the certificate in force: an attempt at its renewal that issued nothing takes nothing from it."""
    version = str(trained.specialist) if trained is not None else ""
    rests_on = stage.certificate_id if stage is not None and stage.stage in ("canary", "full") else None
    found = certificates.in_force(seen.session, seen.tenant_id, seen.task, version, rests_on)
    if found is None:
        found = next(iter(certificates.of_task(seen.session, seen.tenant_id, seen.task, limit=1)), None)
    answers = version if rests_on is None or stage is None else str(stage.specialist)
    certificate = (
        None if found is None else _certificate(seen, found, str(stage.model) if stage is not None else "", answers)
    )
    if stage is None:
        return StageFacts(certificate=certificate)
    since = stage.created_at.date()
    if stage.stage == "demoted":
        return StageFacts("none", since, certificate, stage.frozen, demoted_on=since)
    return StageFacts(stage.stage, since, certificate, stage.frozen)


def _certificate(seen: Seen, row: Row[Any], model: str, version: str) -> CertificateFacts:
    source: Source = "labels" if row.measure == "accuracy" else "agreement"
    is_void = row.specialist != version or certificates.was_edited(
        seen.session, seen.tenant_id, seen.task, row.task_version
    )
    interval = Interval(row.share_low, row.share_high) if row.share_low is not None else Interval(0.0, 1.0)
    return CertificateFacts(
        row.issued, source, model, row.target, row.delta, row.n, row.threshold, row.share or 0.0, interval, row.bound or 0.0, row.accepted,
        row.errors, row.created_at.date(), row.expires_at.date(), is_void=is_void, more_labels=row.more_labels,
        is_hopeless=not row.issued and row.more_labels is None, reason=row.reason,
    )  # fmt: skip


def rows_left(seen: Seen, trained: Row[Any] | None) -> tuple[int, int]:
    """Rows that a certificate of agreement, and one of accuracy, could rest on: those that `certify` would take, and no attempt has used.

    It takes what training kept aside first, of whichever of the two it learned, and then the shadow's pairs, or drawn labels.
    """
    if trained is None:
        return 0, 0
    aside = kept_aside(seen.context, seen.session, seen.tenant_id, seen.task, trained)
    since = datetime.now(UTC) - timedelta(days=WINDOW_DAYS)
    fresh = audits.unused_pairs(seen.session, seen.tenant_id, seen.task, str(trained.specialist), since)
    drawn = labels.unused(seen.session, seen.tenant_id, seen.task, since)
    kept = len(aside.rows)
    return (kept or fresh, drawn) if aside.measure == "agreement" else (fresh, kept or drawn)


def training_usd(seen: Seen, serving: str | None, trainings: Sequence[Row[Any]]) -> Decimal:
    """What the period's trainings took, at the hour's price of the machine that serves the specialist: nothing where no rate card has one."""
    model = seen.context.config.fleet.by_name.get(serving or "")
    if model is None:
        return Decimal(0)
    return sum(
        (model.card_on(one.day).hour * Decimal(repr(one.seconds or 0.0)) / 3_600 for one in trainings), start=Decimal(0)
    )
