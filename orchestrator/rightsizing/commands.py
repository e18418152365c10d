"""What the command line asks of right-sizing. Found by entry point, so that the command line itself stays light."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.flow import administer
from orchestrator.flow.context import Context, open_context
from orchestrator.learned.specialist import version_folder
from orchestrator.promotion import Stage
from orchestrator.rightsizing.evidence import labelling, past
from orchestrator.rightsizing.evidence.kept_aside import kept_aside
from orchestrator.rightsizing.stages import certifying, promoting, standing
from orchestrator.rightsizing.stages.certifying import Measure, Request, Sample
from orchestrator.rightsizing.stages.promoting import Wish
from orchestrator.settings import Settings
from orchestrator.store.rightsizing import certificates, stages
from orchestrator.store.tenants import HOUSE

if TYPE_CHECKING:
    from sqlalchemy import Row

    from orchestrator.rightsizing.advice.economics import AdvicePolicy
    from orchestrator.rightsizing.evidence.facts import TaskFacts
    from orchestrator.rightsizing.stages.held_rows import Used


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
    if measure not in (None, "accuracy", "agreement"):
        raise InvalidRequest(
            "The measure must be accuracy (of labels) or agreement (with the reference).", param="measure"
        )
    with _opened(settings) as (context, tenant_id):
        trained = certifying.newest(context, tenant_id, task)
        learned_from = (trained.training or {}).get("labels_from", "labels")
        default = "accuracy" if labels is not None or learned_from == "labels" else "agreement"
        wanted: Measure = "agreement" if (measure or default) == "agreement" else "accuracy"
        if wanted == "accuracy" and reference_quality is None:
            reference_quality = _reference_low(context, tenant_id, task)
        asked = Request(task, target, delta, wanted, days, reference_quality)
        # The version that is stored with the task, and not whichever lies newest in the folder: a training may have died between the two.
        folder = version_folder(settings.blobs, task, str(trained.specialist))
        rows = (
            _kept(context, tenant_id, asked, trained, folder)
            if labels is None
            else _labelled(folder, asked, labels, text_column, label_column, _used(context, tenant_id, task))
        )
        return certifying.attempt(context, tenant_id, asked, rows)


def _reference_low(context: Context, tenant_id: int, task: str) -> float | None:
    from orchestrator.rightsizing.evidence import measuring

    return measuring.reference_low(context, tenant_id, task)


def _labelled(folder: Path, asked: Request, labels: Path, text_column: str, label_column: str, used_of: Used) -> Sample:
    from orchestrator.rightsizing.stages import held_rows

    if asked.measure == "agreement":
        raise InvalidRequest(
            "Labels are for accuracy. Agreement comes from what the reference answered: leave --labels out.",
            param="labels",
        )
    return held_rows.of_file(folder, asked.task, labels, text_column, label_column, used_of)


def _used(context: Context, tenant_id: int, task: str) -> Used:
    """Tells which of some texts an attempt of a task has used."""

    def used_of(hashes: Sequence[bytes]) -> set[bytes]:
        with context.database.unit_of_work() as session:
            return certificates.used(session, tenant_id, task, hashes)

    return used_of


def _kept(context: Context, tenant_id: int, asked: Request, trained: Row[Any], folder: Path) -> Sample | None:
    """The rows that training kept aside, as long as some are left; after these the jobs that were drawn and labelled.

    None for what the shadow has compared since. What was learned from the reference's answers is kept aside for agreement alone.
    """
    from orchestrator.rightsizing.stages import held_rows

    with context.database.unit_of_work() as session:
        aside = kept_aside(context, session, tenant_id, asked.task, trained)
    if aside.measure == asked.measure and aside.rows:
        return held_rows.reserved(aside)
    return held_rows.of_jobs(context, tenant_id, asked.task, folder) if asked.measure == "accuracy" else None


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
        if stage.stage == "demoted":
            raise Conflict(
                f"Task {task} is demoted already: its reference answers. `rightsize stages {task}` says since when."
            )
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


def judge(settings: Settings, task: str, n: int, tell: Callable[[int, int], None]) -> dict[str, Any]:
    """Let a model of the rlm tier compare pairs of answers; see `judging.run`."""
    from orchestrator.rightsizing.evidence import judging

    with _opened(settings) as (context, tenant_id):
        return judging.run(context, tenant_id, task, n, tell)


def export_task(settings: Settings, task: str, to: Path, *, since: str | None = None) -> dict[str, Any]:
    """Write a task's answers as chats that a language model can be trained on."""
    from orchestrator.rightsizing.training.export import export

    first = None if since is None else datetime.fromisoformat(since).replace(tzinfo=UTC)
    with _opened(settings) as (context, tenant_id):
        rows = past.examples(context, tenant_id, task, since=first)
        return export(rows, to, task=task, made_at=datetime.now(UTC)).as_dict()


def advise(
    settings: Settings, *, task: str | None = None, since: str | None = None, policy: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """What is advised for one task, or for all of which something was delivered; `policy` are fields of `AdvicePolicy`."""
    from orchestrator.rightsizing.advice.advise import AdvicePolicy
    from orchestrator.rightsizing.advice.advise import advise as advice_on

    wanted = AdvicePolicy(**(policy or {}))
    with _opened(settings) as (context, tenant_id):
        found = _measured(context, tenant_id, since, None, task)
        return [advice_on(facts, _priced(context, wanted, facts)).as_dict() for facts in found]


def report(
    settings: Settings, *, since: str | None = None, until: str | None = None, html: bool = False
) -> dict[str, Any]:
    """What right-sizing saved (`savings`), and where it is wanted a page of it (`html`)."""
    from orchestrator.rightsizing.advice.advise import AdvicePolicy
    from orchestrator.rightsizing.advice.advise import advise as advice_on
    from orchestrator.rightsizing.advice.page import Report, page_html
    from orchestrator.rightsizing.advice.savings import savings

    with _opened(settings) as (context, tenant_id):
        found = _measured(context, tenant_id, since, until)
        policies = [_priced(context, AdvicePolicy(), facts) for facts in found]
    if not found:
        raise NotFound(
            "Nothing of a task was delivered in this period. Submit work with `--task NAME`, or give another --since."
        )
    saved = savings(found)
    told: dict[str, Any] = {"savings": saved.as_dict()}
    if html:
        told["html"] = page_html(
            Report(
                saved,
                found,
                [advice_on(facts, policy) for facts, policy in zip(found, policies, strict=True)],
                made_on=datetime.now(UTC).date(),
            )
        )
    return told


def _priced(context: Context, policy: AdvicePolicy, facts: TaskFacts) -> AdvicePolicy:
    """With what a specialist would cost by the fleet's rate card."""
    from orchestrator.rightsizing.evidence.measuring import specialist_usd

    return replace(policy, specialist_usd=specialist_usd(context, facts.task))


def _measured(
    context: Context, tenant_id: int, since: str | None, until: str | None, task: str | None = None
) -> list[TaskFacts]:
    from orchestrator.rightsizing.evidence.measuring import measure
    from orchestrator.rightsizing.evidence.seen import Period

    first, last = (None if day is None else date.fromisoformat(day) for day in (since, until))
    return measure(context, tenant_id, Period.of_days(first, last), task)


def draw_to_label(settings: Settings, task: str, n: int) -> list[dict[str, str]]:
    """Answered jobs drawn at random for people to label."""
    with _opened(settings) as (context, tenant_id):
        return labelling.draw_to_label(context, tenant_id, task, n)


def _standing(context: Context, tenant_id: int, task: str) -> dict[str, Any]:
    with context.database.unit_of_work() as session:
        return standing.told(session, tenant_id, task)
