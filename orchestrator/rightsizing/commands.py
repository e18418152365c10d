"""What the command line asks of right-sizing. Found by entry point, so that the command line itself stays light."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.flow import administer
from orchestrator.flow.context import Context, open_context
from orchestrator.promotion import Stage
from orchestrator.rightsizing import certifying, labelling, promoting, standing
from orchestrator.rightsizing.certifying import Request, Rows
from orchestrator.rightsizing.promoting import Wish
from orchestrator.settings import Settings
from orchestrator.store import stages
from orchestrator.store.tenants import HOUSE


@contextmanager
def _opened(settings: Settings, tenant: str = HOUSE) -> Iterator[tuple[Context, int]]:
    context = open_context(settings, "orchestrator", connections=2)
    try:
        yield context, int(administer.tenant_named(context, tenant).id)
    finally:
        context.close()


def certify(
    settings: Settings, task: str, *, target: float, delta: float, labels: Path | None = None, text_column: str = "text",
    label_column: str = "label", measure: str | None = None, reference_quality: float | None = None, days: int = certifying.DAYS,
) -> dict[str, Any]:  # fmt: skip
    """Make one attempt to certify a task's specialist; see `certifying.attempt`."""
    from orchestrator.rightsizing import held_rows

    wanted = measure or "accuracy"
    if wanted not in ("accuracy", "agreement"):
        raise InvalidRequest(
            "The measure must be accuracy (of labels) or agreement (with the reference).", param="measure"
        )
    if wanted == "agreement" and labels is not None:
        raise InvalidRequest(
            "Labels are for accuracy. Agreement comes from the shadow's audits: leave --labels out.", param="labels"
        )
    rows: Rows | None = None
    if wanted == "accuracy":
        if labels is not None:
            rows = held_rows.of_file(settings.blobs, task, labels, text_column, label_column)
        else:
            rows = held_rows.reserved(settings.blobs, task)
    with _opened(settings) as (context, tenant_id):
        asked = Request(
            task, target, delta, "accuracy" if wanted == "accuracy" else "agreement", days, reference_quality or 1.0
        )
        return certifying.attempt(context, tenant_id, asked, rows)


def promote(
    settings: Settings, task: str, to: Stage, *, reference: str | None = None, share: float | None = None,
    audit_share: float | None = None, automatic: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Take the next step of a task's promotion, as its certificate allows."""
    with _opened(settings) as (context, tenant_id):
        wish = Wish(task, to, "command line", reference, share, audit_share, automatic)
        promoting.promote(context, tenant_id, wish)
        return _standing(context, tenant_id, task)


def demote(settings: Settings, task: str, *, reason: str) -> dict[str, Any]:
    """Take a specialist's right to answer alone, by hand."""
    with _opened(settings) as (context, tenant_id):
        with context.database.unit_of_work() as session:
            stage = stages.of_task(session, tenant_id, task)
        if stage is None:
            raise NotFound(f"Task {task} was never promoted: there is nothing to take back.")
        promoting.demote(context, stage, reason, set_by="command line")
        return _standing(context, tenant_id, task)


def freeze(settings: Settings, task: str) -> dict[str, Any]:
    """Let a task stay in its stage: nothing is promoted by itself any more. Demotion still is."""
    with _opened(settings) as (context, tenant_id):
        promoting.freeze(context, tenant_id, task, set_by="command line")
        return _standing(context, tenant_id, task)


def stages_of(settings: Settings, task: str) -> dict[str, Any]:
    """The stage of a task, and how it came there."""
    with _opened(settings) as (context, tenant_id):
        return _standing(context, tenant_id, task)


def label(
    settings: Settings, task: str, file: Path, *, job_column: str = "job", label_column: str = "label"
) -> dict[str, Any]:
    """Store labels of a task's jobs from a CSV file."""
    with _opened(settings) as (context, tenant_id):
        return labelling.label_file(context, tenant_id, task, file, job_column, label_column, given_by="command line")


def _standing(context: Context, tenant_id: int, task: str) -> dict[str, Any]:
    with context.database.unit_of_work() as session:
        return standing.told(session, tenant_id, task)
