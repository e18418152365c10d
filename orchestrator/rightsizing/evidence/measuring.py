"""Measure: what the store knows of a task, as the facts that advice and savings rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Row

from orchestrator.contracts import Usage
from orchestrator.fleet import Model
from orchestrator.flow.context import Context
from orchestrator.pricing import price
from orchestrator.promotion import CERTIFIED
from orchestrator.rightsizing.evidence import judging
from orchestrator.rightsizing.evidence.answers import agrees, answer_of
from orchestrator.rightsizing.evidence.facts import MONTH_DAYS, Audits, ModelFacts, Quality, Source, TaskFacts
from orchestrator.rightsizing.evidence.progress import rows_left, stage_facts, training_usd
from orchestrator.rightsizing.evidence.quality import Group, of_reference, quality_of
from orchestrator.rightsizing.evidence.seen import Period, Seen
from orchestrator.store.rightsizing import audits, certificates, labels, measured, stages
from orchestrator.store.rightsizing.judging import Pairs
from orchestrator.store.rightsizing.judging import judged as judged_pairs

ANSWER_TOKENS: Final = 200
LEAST_LABELS: Final = 100
"""Of the reference's answers, before they say how often it is right."""


def measure(context: Context, tenant_id: int, period: Period, task: str | None = None) -> list[TaskFacts]:
    """The facts of one task, or of all of which something was delivered in the period."""
    with context.database.unit_of_work() as session:
        period = period.not_before(measured.oldest(session))
        named = [task] if task else [name for name, _ in measured.tasks(session, tenant_id, period.since, period.until)]
        return [facts_of(Seen(context, session, tenant_id, name, period)) for name in named]


def reference_of(context: Context, tenant_id: int, task: str) -> str:
    """The model that a task's answers are held against."""
    with context.database.unit_of_work() as session:
        return _reference_now(Seen(context, session, tenant_id, task, Period.of_days(None, None)))


def reference_low(context: Context, tenant_id: int, task: str) -> float | None:
    """The lower end of how often a task's reference is right, by labels of what it answered; None with fewer than 100 of them."""
    with context.database.unit_of_work() as session:
        reference = _reference_now(Seen(context, session, tenant_id, task, Period.of_days(None, None)))
        given = labels.answered(session, tenant_id, task)
    found = _of_people([row for row in given if row.model == reference and row.rule != CERTIFIED])
    quality = next((one for one in found if one.source == "labels"), None)
    return None if quality is None or quality.n < LEAST_LABELS else quality.low


def _reference_now(seen: Seen) -> str:
    return _reference(seen, stages.of_task(seen.session, seen.tenant_id, seen.task), measured.models(*seen.key))


def facts_of(seen: Seen) -> TaskFacts:
    """What is known of one task."""
    stage = stages.of_task(seen.session, seen.tenant_id, seen.task)
    trained = certificates.trained(seen.session, seen.tenant_id, seen.task)
    given = labels.answered(seen.session, seen.tenant_id, seen.task)
    rows = measured.models(*seen.key)
    reference = _reference(seen, stage, rows)
    version = str(stage.specialist if stage is not None else trained.specialist if trained is not None else "")
    audited = measured.audits(*seen.key)
    trainings = certificates.trainings(*seen.key)
    fresh, held = rows_left(seen, trained)
    models = tuple(_models(seen, rows, reference, _specialist_model(seen, stage, trained), version, given))
    jobs = sum(model.jobs for model in models)
    first, last = seen.period.since.date(), (seen.period.until - timedelta(days=1)).date()
    return TaskFacts(
        task=seen.task,
        version=str(trained.version if trained is not None else 1),
        since=first,
        until=last,
        jobs=jobs,
        jobs_a_month=jobs / seen.period.days * MONTH_DAYS,
        reference=reference,
        models=models,
        stage=stage_facts(seen, stage, trained),
        escalated=measured.escalated(*seen.key),
        audits=Audits(
            audited.audits,
            audited.audit_usd,
            audited.squares,
            waiting=_waiting(seen),
            in_stage=0 if stage is None else measured.of_stage(seen.session, stage.id),
            shadow=audited.others,
            shadow_usd=audited.other_usd,
        ),
        training_s=sum(one.seconds or 0.0 for one in trainings),
        training_usd=training_usd(seen, _specialist_model(seen, stage, trained), trainings),
        quality_target=certificates.quality_target(seen.session, seen.tenant_id, seen.task),
        labels=sum(row.label is not None and row.source != "feedback" for row in given),
        fresh_rows=fresh,
        held_labels=held,
    )


def _reference(seen: Seen, stage: Row[Any] | None, rows: Sequence[Row[Any]]) -> str:
    """The model that others are held against: that of the stage, or the one that answered the most and is no specialist."""
    if stage is not None:
        return str(stage.reference)
    fleet = seen.context.config.fleet
    busiest = next(
        (row.model for row in rows if row.model in fleet.by_name and not _is_specialist(fleet.by_name[row.model])), None
    )
    return busiest or fleet.of_tier(seen.context.config.policy.default_tier)[0].name


def _specialist_model(seen: Seen, stage: Row[Any] | None, trained: Row[Any] | None) -> str | None:
    """The fleet's model that serves the task's specialist, once there is one."""
    if stage is not None:
        return str(stage.model)
    if trained is None:
        return None
    serving = _serving(seen.context, seen.task)
    return None if serving is None else serving.name


def _serving(context: Context, task: str) -> Model | None:
    """The fleet's model for specialists of a task."""
    models = (model for model in context.config.fleet.models if _is_specialist(model))
    return next((model for model in models if not model.tasks or task in model.tasks), None)


def _waiting(seen: Seen) -> int:
    counted = audits.counts(seen.session, seen.tenant_id, seen.task, seen.period.since)
    return sum(int(row.open) for row in counted.values())


def _is_specialist(model: Model) -> bool:
    return model.engine == "specialist"


def _models(
    seen: Seen, rows: Sequence[Row[Any]], reference: str, serving: str | None, version: str,
    given: Sequence[Row[Any]],
) -> Iterable[ModelFacts]:  # fmt: skip
    """Of each model what it did; the reference and the specialist's version stand there though they did nothing."""
    agreement = measured.agreement(*seen.key, specialist=version)
    faults, by_name = measured.faults(*seen.key), seen.context.config.fleet.by_name
    # Where nothing asks for a form, an answer cannot miss it, and says nothing by having none.
    has_form = certificates.held_to_a_form(seen.session, seen.tenant_id, seen.task) or any(
        "wrong_form" in one for one in faults.values()
    )
    known = {row.model: row for row in rows}
    named = dict.fromkeys([*known, reference, *([serving] if serving is not None else [])])
    for name in named:
        model, row = by_name.get(name), known.get(name)
        specialist = model is not None and _is_specialist(model)
        ours = [row for row in given if row.model == name]
        # Of certified jobs the specialist's answers are the ones that it was sure of, and the reference's those that it was not.
        quality = list(_of_people([row for row in ours if row.rule != CERTIFIED]))
        delivered = list(_of_people([row for row in ours if row.rule == CERTIFIED]))
        if specialist:
            quality += _agreement(agreement, "shadow", "n", "agreed")
            delivered += _agreement(agreement, "audit", "accepted", "accepted_agreed")
            for kind, found in (("shadow", quality), ("audit", delivered)):
                rows_judged = judged_pairs(seen.session, seen.tenant_id, Pairs(seen.task, version, kind))
                judged = judging.corrected(seen.context, rows_judged)
                found.extend([judged.quality] if judged is not None and judged.quality is not None else [])
        elif name == reference and row is not None and row.jobs:
            quality.append(of_reference(row.jobs))
        wrong = faults.get(name, {}).get("wrong_form", 0)
        if has_form and row is not None and row.jobs + wrong and not specialist:
            total = row.jobs + wrong
            checked = quality_of("checks", [Group(1.0, total, total, row.jobs)])
            quality += [checked] if checked is not None else []
        yield _model_facts(name, row, model, faults.get(name, {}), tuple(quality), tuple(delivered))


def _model_facts(
    name: str, row: Row[Any] | None, model: Model | None, faults: dict[str, int], quality: tuple[Quality, ...], delivered: tuple[Quality, ...]
) -> ModelFacts:  # fmt: skip
    is_simulated = bool(row.simulated) if row is not None else model is not None and model.engine == "simulated"
    if row is None:
        return ModelFacts(
            str(model.tier) if model else "none", name, "", is_simulated, 0, Decimal(0), Decimal(0), expected_usd=_expected(model),
            quality=quality, delivered=delivered, is_specialist=model is not None and _is_specialist(model),
        )  # fmt: skip
    return ModelFacts(
        tier=row.tier, model=name, revision=row.revision or "", simulated=is_simulated, jobs=row.jobs, charge_usd=row.charge_usd,
        cost_usd=row.cost_usd, latency_s=row.latency_s, input_tokens=row.input_tokens, output_tokens=row.output_tokens,
        rejected=row.rejected, rejected_usd=row.rejected_usd, charge_squares=row.charge_squares, expected_usd=_expected(model),
        errors=faults, quality=quality, delivered=delivered, is_specialist=model is not None and _is_specialist(model),
    )  # fmt: skip


def specialist_usd(context: Context, task: str) -> Decimal:
    """What an answer of a task's specialist would cost, by the rate card of the model that serves it; 0 where none does."""
    return _expected(_serving(context, task)) or Decimal(0)


def _expected(model: Model | None) -> Decimal | None:
    """What the rate card says of an answer of typical length."""
    if model is None:
        return None
    usage = Usage(ANSWER_TOKENS, 0, min(ANSWER_TOKENS, model.max_output_tokens))
    return price(usage, model.card_on(datetime.now(UTC).date()))


def _agreement(rows: Sequence[Row[Any]], kind: str, n: str, agreed: str) -> list[Quality]:
    """The agreement with the reference, each group of audits by the probability with which it was drawn."""
    groups = [
        Group(row.probability, max(row.n, round(row.n / row.probability)), getattr(row, n), getattr(row, agreed))
        for row in rows
        if row.kind == kind and getattr(row, n)
    ]
    found = quality_of("agreement", groups)
    return [] if found is None else [found]


def _of_people(ours: Sequence[Row[Any]]) -> Iterable[Quality]:
    """What labels and feedback say of some answers of a model."""
    labelled = [
        (row.probability, agrees(_said(row), row.label))
        for row in ours
        if row.source != "feedback" and row.label is not None and row.body is not None
    ]
    judged = [(None, bool(row.good)) for row in ours if row.source == "feedback" and row.good is not None]
    sources: list[tuple[Source, Sequence[tuple[float | None, bool]]]] = [("labels", labelled), ("feedback", judged)]
    for source, said in sources:
        found = quality_of(source, _weighted(said)) if said else None
        if found is not None:
            yield found


def _weighted(said: Sequence[tuple[float | None, bool]]) -> list[Group]:
    """Verdicts in groups of the same probability to be drawn; those that nobody drew stand for themselves alone."""
    groups: dict[float, list[bool]] = {}
    for probability, right in said:
        groups.setdefault(probability or 1.0, []).append(right)
    return [
        Group(probability, max(len(right), round(len(right) / probability)), len(right), sum(right))
        for probability, right in sorted(groups.items())
    ]


def _said(row: Row[Any]) -> str | None:
    return answer_of(bytes(row.body))
