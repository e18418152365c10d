"""A task's models on planes of cost and quality, one plane for each source of quality: sources are never mixed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Literal

from orchestrator.rightsizing.advice.prices import answer_price, audit_price
from orchestrator.rightsizing.evidence.facts import (
    SOURCES,
    Amount,
    CertificateFacts,
    Fact,
    ModelFacts,
    Quality,
    Source,
    TaskFacts,
)
from orchestrator.rightsizing.evidence.quality import of_reference, together
from orchestrator.rightsizing.guarantees.bounds import binomial_interval

Kind = Literal["model", "cascade", "now"]
Standing = Literal["front", "uncertain", "dominated"]
"""On the Pareto front by the estimates; off it by less than the intervals tell apart; surely worse than a cheaper one."""
NOW: Final = "as it was"


@dataclass(frozen=True, slots=True)
class Point(Fact):
    """One way to do the task: what a job costs by it, and how good its answers are."""

    name: str
    kind: Kind
    tiers: tuple[str, ...]
    usd: Amount
    quality: Quality
    simulated: bool = False
    is_reference: bool = False
    standing: Standing = "front"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plane(Fact):
    """All ways whose quality is known by one source."""

    source: Source
    points: tuple[Point, ...]
    needed: float | None
    """The quality that an answer must have; None where nobody said it and the reference's is not known."""
    why_needed: str

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that no cheaper one matches, from the cheapest on."""
        return tuple(one for one in self.points if one.standing == "front" and one.kind != "now")

    def as_dict(self) -> dict[str, Any]:
        """Its fields, with the names of the front."""
        return {**Fact.as_dict(self), "front": [one.name for one in self.front]}

    def find(self, kind: Kind) -> Point | None:
        """The point of a kind of which there is at most one."""
        return next((one for one in self.points if one.kind == kind), None)

    @property
    def best_single(self) -> Point | None:
        """The cheapest model that is good enough with its whole interval; where none is, None."""
        if self.needed is None:
            return None
        return next((one for one in self._by_price if one.quality.low >= self.needed), None)

    @property
    def likely_single(self) -> Point | None:
        """The cheapest model whose estimate is good enough, though its interval may reach below."""
        if self.needed is None:
            return None
        return next((one for one in self._by_price if one.quality.value >= self.needed), None)

    @property
    def _by_price(self) -> list[Point]:
        return sorted((one for one in self.points if one.kind == "model"), key=_place)


def planes(facts: TaskFacts, audit_share: float, target: float | None, loss: float) -> tuple[Plane, ...]:
    """The planes of a task, the one that says most first.

    A source that knows the reference and another model comes before one that knows only one of them.
    """
    made = [_plane(facts, source, audit_share, target, loss) for source in SOURCES]
    found = [plane for plane in made if any(one.kind == "model" and not _is_defined(one) for one in plane.points)]
    return tuple(sorted(found, key=lambda plane: not _compares(plane)))


def _plane(facts: TaskFacts, source: Source, audit_share: float, target: float | None, loss: float) -> Plane:
    singles = [point for model in facts.models if (point := _single(facts, model, source)) is not None]
    others = [point for point in (_cascade(facts, source, audit_share), _now(facts, source)) if point is not None]
    needed, why = needed_quality(facts, source, target, loss)
    return Plane(source, tuple(sorted(stood([*singles, *others]), key=_place)), needed, why)


def needed_quality(facts: TaskFacts, source: Source, target: float | None, loss: float) -> tuple[float | None, str]:
    """The quality that answers must have by a source, and who says so."""
    if target is not None:
        return target, "the target that was asked for"
    if facts.quality_target is not None and source == "labels":
        return facts.quality_target, "the target of the task's definition"
    theirs = reference_quality(facts, source)
    if theirs is None:
        return None, "nobody: the task names no target, and the reference was not measured by this source"
    needed = max(0.0, round(theirs.value - loss, 4))
    return needed, f"the reference's own, less the {100 * loss:g} points that may be lost"


def _single(facts: TaskFacts, model: ModelFacts, source: Source) -> Point | None:
    is_reference = model.model == facts.reference
    quality = reference_quality(facts, source) if is_reference else model.by(source)
    price = reference_price(facts) if is_reference else answer_price(model)
    if quality is None or price is None:
        return None
    return Point(model.model, "model", (model.tier,), price, quality, model.simulated, is_reference)


def reference_quality(facts: TaskFacts, source: Source) -> Quality | None:
    """The quality of the reference by a source; it agrees with itself by definition."""
    found = facts.reference_facts
    if found is None:
        return None
    return of_reference(found.answers + facts.audits.count) if source == "agreement" else found.by(source)


def reference_price(facts: TaskFacts) -> Amount | None:
    """What a job costs on the reference: by its audits, which are a fair sample of what others answer, else by its own answers."""
    found = facts.reference_facts
    audited = audit_price(facts.audits)
    if audited is not None and (found is None or found.answers < facts.jobs / 2):
        return audited
    return None if found is None else answer_price(found)


def _cascade(facts: TaskFacts, source: Source, audit_share: float) -> Point | None:
    """The specialist first and the reference behind it, by the share that the certificate gives."""
    certificate, reference = facts.stage.certificate, facts.reference_facts
    if (
        certificate is None
        or certificate.source != source
        or not certificate.holds_on(facts.until)
        or reference is None
    ):
        return None
    first = facts.model(certificate.model)
    price, dear = (None if first is None else answer_price(first)), reference_price(facts)
    behind = reference_quality(facts, source)
    if first is None or price is None or dear is None or behind is None or _is_contradicted(certificate, first):
        return None
    quality = _cascade_quality(certificate, behind)
    note = f"{certificate.model} answers {100 * certificate.share:.0f}% alone, at a threshold of {certificate.threshold or 0:g}"
    simulated = first.simulated or reference.simulated
    usd = cascade_price(certificate, price, dear, audit_share)
    return Point(
        f"{first.model}, then {reference.model}",
        "cascade",
        (first.tier, reference.tier),
        usd,
        quality,
        simulated,
        note=note,
    )


def _is_contradicted(certificate: CertificateFacts, model: ModelFacts) -> bool:
    """Whether audits of what the model answered alone lie wholly below what its certificate promises."""
    return any(one.source == certificate.source and one.high < certificate.target for one in model.delivered)


def cascade_price(certificate: CertificateFacts, first: Amount, behind: Amount, audit_share: float) -> Amount:
    """What a job costs: every job asks the specialist, the rest of them the reference too, and of the accepted a share is audited."""

    def asked(share: float) -> Decimal:
        return 1 - Decimal(repr(share)) * (1 - Decimal(repr(audit_share)))

    share = certificate.share_interval
    most, least = asked(share.low), asked(share.high)
    return Amount(
        first.usd + asked(certificate.share) * behind.usd,
        first.low_usd + least * behind.low_usd,
        first.high_usd + most * behind.high_usd,
    )


def _cascade_quality(certificate: CertificateFacts, behind: Quality) -> Quality:
    """The quality over the whole task: on the accepted share at least the certificate's bound, on the rest the reference's."""
    right = certificate.accepted - certificate.errors
    seen, top = (
        (right / certificate.accepted, binomial_interval(right, certificate.accepted)[1])
        if certificate.accepted
        else (certificate.target, 1.0)
    )
    least = max(certificate.bound, certificate.target)
    shares = (certificate.share_interval.low, certificate.share_interval.high)
    low = min(share * least + (1 - share) * behind.low for share in shares)
    high = max(share * top + (1 - share) * behind.high for share in shares)
    value = certificate.share * max(seen, least) + (1 - certificate.share) * behind.value
    note = "by its certificate on the share that it answers alone, by the reference on the rest"
    return Quality(certificate.source, value, min(low, value), max(high, value), certificate.n, note)


def _now(facts: TaskFacts, source: Source) -> Point | None:
    """The task as it was done in the period, by all models together."""
    active = [model for model in facts.models if model.answers]
    quality = delivered_quality(facts, source)
    if len(active) < 2 or quality is None or not facts.jobs:
        return None
    spent = sum((model.charge_usd for model in active), Decimal(0)) + facts.audits.all_usd
    tiers = tuple(dict.fromkeys(model.tier for model in active))
    return Point(
        NOW, "now", tiers, Amount.exactly(spent / facts.jobs), quality, any(model.simulated for model in active)
    )


def delivered_quality(facts: TaskFacts, source: Source) -> Quality | None:
    """The quality of what callers got: as it was measured over the task, else put together from the models that answered."""
    measured = next((one for one in facts.delivered if one.source == source), None)
    if measured is not None:
        return measured
    parts = [part for model in facts.models if model.jobs for part in _parts(facts, model, source)]
    known = [(float(jobs), quality) for jobs, quality in parts if quality is not None]
    return together(known) if known and len(known) == len(parts) else None


def _parts(facts: TaskFacts, model: ModelFacts, source: Source) -> list[tuple[int, Quality | None]]:
    """A model's answers with their quality; of the reference those apart that a specialist was not sure enough of, where these were looked at."""
    if model.model != facts.reference:
        return [(model.jobs, model.delivered_by(source))]
    own = reference_quality(facts, source)
    passed_on = next((one for one in model.delivered if one.source == source), None)
    escalated = 0 if passed_on is None else min(model.jobs, facts.escalated)
    parts = [(escalated, passed_on), (model.jobs - escalated, own)]
    return [part for part in parts if part[0]]


def stood(points: Sequence[Point]) -> list[Point]:
    """The points with their standing: of equal ones all stand on the front."""
    return [replace(one, standing=_standing(one, [other for other in points if other is not one])) for one in points]


def _standing(one: Point, others: Sequence[Point]) -> Standing:
    better = [
        other
        for other in others
        if other.kind != "now"
        and other.usd.usd <= one.usd.usd
        and other.quality.value >= one.quality.value
        and (other.usd.usd < one.usd.usd or other.quality.value > one.quality.value)
    ]
    if not better:
        return "front"
    return "dominated" if any(other.quality.low > one.quality.high for other in better) else "uncertain"


def _place(point: Point) -> tuple[Decimal, float, str]:
    return (point.usd.usd, -point.quality.value, point.name)


def _is_defined(point: Point) -> bool:
    """Whether its quality is no measurement but true by definition."""
    return point.is_reference and point.quality.source == "agreement"


def _compares(plane: Plane) -> bool:
    singles = [one for one in plane.points if one.kind == "model"]
    return any(one.is_reference for one in singles) and len(singles) > 1
