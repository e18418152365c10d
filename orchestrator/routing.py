"""Which tier and model run a request, and why: a pure function of its features, the policy and the fleet.

The decision tree asks four questions in this order: (1) does it need vision or audio? `mllm`. (2) Is it high-stakes, or does it
need deep analysis? `rlm`. (3) Is it repetitive and domain-specific, with a specialist for its task? `slm`. (4) Otherwise the
policy's default tier. An explicit choice by the caller wins over all four; a bound excludes tiers and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from orchestrator.contracts import Advised, Stakes, Tier
from orchestrator.eligibility import Estimate, Situation, estimate, excluded, problem_of, specialist_first
from orchestrator.errors import TierUnavailable
from orchestrator.fleet import Model
from orchestrator.hints import BOUNDED
from orchestrator.pricing import usd
from orchestrator.promotion import CERTIFIED
from orchestrator.requests import POOLING, Features

REJECTED_SHARE: Final = Decimal("0.05")
"""The share of a cascade's answers that is taken to be not accepted until its task has been measured."""


@dataclass(frozen=True, slots=True)
class Route:
    """The decision for one job."""

    tier: Tier
    model: str
    rule: str
    reasons: tuple[str, ...]
    estimate: Estimate
    """Of a cascade: what its first model is expected to take, and what all of them can cost."""
    cascade: tuple[str, ...] = ()
    """Models that take over, in this order, where an answer is not accepted."""


def route(features: Features, now: Situation, lot: float = 0.0, advised: Advised | None = None) -> Route:
    """Choose tier and model; raises UnknownModel, or TierUnavailable that says what excluded every tier.

    `lot` was drawn for the request, from 0 to 1: by it a canary takes its share. What the learned router says counts where the tree
    comes to its last question.
    """
    if features.hints.cascade and features.model == "auto":
        return _down_the_cascade(features, now)
    if (promoted := _by_certificate(features, now, lot)) is not None:
        return promoted
    found = _of_one(features, now, advised)
    return _with_the_next(features, found, now) if features.hints.escalate else found


def _of_one(features: Features, now: Situation, advised: Advised | None) -> Route:
    hints = features.hints
    if features.model not in ("auto", *Tier):
        model = now.fleet.named(features.model)
        now.fleet.check_adapter(hints.adapter, [model])
        _must_fit(features, model, now)
        return _made(features, model, now, "explicit_model", (f"The caller chose the model {model.name}.",))
    named_tier = Tier(features.model) if features.model in tuple(Tier) else hints.tier
    now.fleet.check_adapter(hints.adapter, now.fleet.of_tier(named_tier) if named_tier is not None else None)
    if named_tier is not None:
        wanted, rule, reasons = named_tier, "explicit_tier", [f"The caller chose the tier {named_tier}."]
        _must_see(features, named_tier)
    else:
        wanted, rule, reasons = _ask(features, now)
        if rule == "default" and features.hints.task is None and advised is not None:
            worth = now.fleet.by_name.get(advised.model)
            if worth is None:
                reasons.append(f"The learned router would take {advised.model}, which is no model of the fleet.")
            elif not (excluded(features.hints, worth.tier) or problem_of(features, worth, now)):
                return _made(features, worth, now, "learned_router", (*reasons[:-1], _told(advised)))
    return _first_that_serves(features, now, wanted, rule, reasons, explicit=named_tier is not None)


def _told(advised: Advised) -> str:
    said = ", ".join(f"{model} {share:.0%}" for model, share in advised.expected.items())
    return f"The learned router expects good answers of {said}: at its threshold {advised.model} is worth its price."


def _by_certificate(features: Features, now: Situation, lot: float) -> Route | None:
    """The specialist first and the reference behind it, where a certificate allows it and the caller says nothing against it."""
    hints = features.hints
    promotion = now.promotions.get(hints.task) if hints.task is not None else None
    chosen = features.model != "auto" or hints.tier is not None or hints.stakes is Stakes.HIGH
    if promotion is None or chosen or features.images or features.audio or not promotion.asks_first(lot):
        return None
    known = now.fleet.by_name
    models = [known[name] for name in (promotion.model, promotion.reference) if name in known]
    if len(models) < 2 or any(problem_of(features, one, now) or excluded(hints, one.tier) for one in models):
        return None
    if _over_the_bound(features, models, now):
        return None
    first, then = models
    reasons = (
        f"Task {hints.task} is promoted ({promotion.stage}) by {promotion.certificate}.",
        f"Its specialist answers alone where its score is {promotion.threshold:.4f} or more; otherwise {then.name} takes over.",
    )
    hold, likely = _hold_of_all(features, models, now), _expected_of(features, models, now)
    expected = replace(estimate(features, first, now.day), hold_usd=hold, cost_usd=likely)
    return Route(first.tier, first.name, CERTIFIED, reasons, expected, (then.name,))


def _ask(features: Features, now: Situation) -> tuple[Tier, str, list[str]]:
    """The four questions, in their order; each answer is a reason."""
    if features.images or features.audio:
        what = " and ".join(
            [*([_count(features.images, "image")] if features.images else []), *(["audio"] if features.audio else [])]
        )
        return Tier.MLLM, "needs_eyes_or_ears", [f"It holds {what}: only mllm sees and hears."]
    reasons = ["It is text only."]
    hints, thresholds = features.hints, now.policy.thresholds
    if hints.stakes is Stakes.HIGH:
        return Tier.RLM, "high_stakes", [*reasons, "The caller declares high stakes: accuracy goes before speed."]
    has_specialist = hints.task is not None and hints.task in now.specialists and hints.task not in now.promotions
    depth = len(features.signals) + (features.input_tokens > thresholds.long_input_tokens)
    if depth >= thresholds.complex_signals and hints.stakes is not Stakes.LOW and not has_specialist:
        signs = ", ".join(features.signals)
        return Tier.RLM, "deep_analysis", [*reasons, f"It needs deep analysis: {signs}."]
    reasons.append(
        "Stakes are low." if hints.stakes is Stakes.LOW else "Nothing declares high stakes or asks for deep analysis."
    )
    if has_specialist:
        return (
            Tier.SLM,
            "repetitive_domain",
            [*reasons, f"Task {hints.task} is repetitive and has a trained specialist."],
        )
    if hints.task is not None:
        promotion = now.promotions.get(hints.task)
        reasons.append(
            f"Task {hints.task} has no specialist yet."
            if promotion is None
            else f"The specialist of task {hints.task} does not answer this one: it is in stage {promotion.stage}."
        )
    default = now.policy.default_tier
    return default, "default", [*reasons, f"Varied work of moderate complexity goes to {default}."]


def _first_that_serves(
    features: Features, now: Situation, wanted: Tier, rule: str, reasons: list[str], *, explicit: bool
) -> Route:
    """Walk from the wanted tier over the policy's fallbacks to the first model that every bound allows."""
    candidates = [wanted] if explicit else [wanted, *now.policy.fallbacks.get(wanted, ())]
    bounded = not explicit and (features.hints.min_tier is not None or features.hints.max_tier is not None)
    if bounded and wanted in BOUNDED:  # only among the tiers that bounds name: mllm lies beyond all of them
        candidates = sorted(BOUNDED, key=lambda tier: abs(BOUNDED.index(tier) - BOUNDED.index(wanted)))
    if not explicit and (features.hints.max_latency_s is not None or features.hints.max_cost_usd is not None):
        candidates += [tier for tier in Tier if tier not in candidates and tier is not Tier.MLLM]
    if not explicit and not bounded and (features.endpoint in POOLING or features.hints.adapter is not None):
        candidates += [tier for tier in Tier if tier not in candidates]
    refusals: list[str] = []
    for tier in candidates:
        if (features.images or features.audio) and tier is not Tier.MLLM:
            continue
        if bounded and (why := excluded(features.hints, tier)):
            refusals += [why] if why not in refusals else []
            continue
        models = specialist_first(now.fleet.of_tier(tier), features.hints.task in now.specialists)
        if not models:
            refusals.append(f"The fleet has no {tier} model.")
        for model in models:
            problem = problem_of(features, model, now)
            if problem is None:
                note = [*reasons, *refusals]
                if tier is not wanted:
                    note.append(f"So it falls to {tier}.")
                return _made(features, model, now, rule if tier is wanted else f"{rule}_fallback", tuple(note))
            if problem not in refusals:
                refusals.append(problem)
    raise TierUnavailable(
        f"No model can serve this request. {' '.join(refusals) or 'Only mllm could, and the fleet has none.'} "
        "Raise the bound, name another tier, or add a model in rightsize.toml.",
        param="rightsize",
    )


def _down_the_cascade(features: Features, now: Situation) -> Route:
    """The first model of the caller's cascade, and those that take over from it: of each tier the first that every bound allows."""
    hints = features.hints
    models: list[Model] = []
    refusals: list[str] = []
    for tier in hints.cascade:
        if (features.images or features.audio) and tier is not Tier.MLLM:
            refusals.append(f"The request holds images or audio, and {tier} cannot see or hear.")
            continue
        if why := excluded(hints, tier):
            refusals.append(f"{tier} is left out: {why[0].lower()}{why[1:]}")
            continue
        problems: dict[str, None] = {}
        for model in specialist_first(now.fleet.of_tier(tier), hints.task in now.specialists):
            if (problem := problem_of(features, model, now)) is None:
                models.append(model)
                break
            problems[problem] = None
        else:
            refusals += problems or [f"The fleet has no {tier} model."]
    while len(models) > 1 and (over := _over_the_bound(features, models, now)):
        models.pop()
        refusals.append(over)
    hold = _hold_of_all(features, models, now)
    if not models:
        raise TierUnavailable(
            f"No model of the cascade can serve this request. {' '.join(refusals)} Raise the bound, or name other tiers.",
            param="cascade",
        )
    first, then = models[0], tuple(model.name for model in models[1:])
    reasons = [f"The caller chose the cascade {', '.join(hints.cascade)}.", *refusals]
    if then:
        reasons.append(f"Where an answer is not accepted, {', then '.join(then)} takes over.")
    expected = replace(estimate(features, first, now.day), hold_usd=hold, cost_usd=_expected_of(features, models, now))
    return Route(first.tier, first.name, "cascade", tuple(reasons), expected, then)


def _with_the_next(features: Features, found: Route, now: Situation) -> Route:
    """The route, with the first model of a higher tier that every bound allows to take over from it."""
    hints, first = features.hints, now.fleet.named(found.model)
    above = BOUNDED[BOUNDED.index(found.tier) + 1 :] if found.tier in BOUNDED else ()
    problems: dict[str, None] = {}
    for tier in above:
        if why := excluded(hints, tier):
            problems[why] = None
            continue
        for model in specialist_first(now.fleet.of_tier(tier), hints.task in now.specialists):
            both = [first, model]
            problem = problem_of(features, model, now) or _over_the_bound(features, both, now)
            if problem is None:
                reasons = (*found.reasons, f"Where an answer is not accepted, {model.name} takes over.")
                expected = replace(
                    found.estimate,
                    hold_usd=_hold_of_all(features, both, now),
                    cost_usd=_expected_of(features, both, now),
                )
                return replace(found, reasons=reasons, estimate=expected, cascade=(model.name,))
            problems[problem] = None
    why = " ".join(problems) or f"The fleet has no tier above {found.tier}."
    return replace(found, reasons=(*found.reasons, f"No model can take over where an answer is not accepted. {why}"))


def _over_the_bound(features: Features, models: Sequence[Model], now: Situation) -> str | None:
    """Why models together could cost more than the caller's bound, or None."""
    bound, hold = features.hints.max_cost_usd, _hold_of_all(features, models, now)
    if bound is None or hold <= bound:
        return None
    return f"With {models[-1].name} it could cost {usd(hold)}, over the bound of {usd(bound)}."


def _expected_of(features: Features, models: Sequence[Model], now: Situation) -> Decimal:
    """What a cascade is expected to cost: each model by how often it is likely to be asked."""
    each = (estimate(features, model, now.day).cost_usd for model in models)
    return sum((cost * REJECTED_SHARE**place for place, cost in enumerate(each)), start=Decimal(0))


def _hold_of_all(features: Features, models: Sequence[Model], now: Situation) -> Decimal:
    return sum((estimate(features, model, now.day).hold_usd for model in models), start=Decimal(0))


def _must_see(features: Features, tier: Tier) -> None:
    if (features.images or features.audio) and tier is not Tier.MLLM:
        raise TierUnavailable(
            f"The request holds images or audio, and {tier} cannot see or hear. Use mllm, or leave the tier to auto.",
            param="model",
        )


def _must_fit(features: Features, model: Model, now: Situation) -> None:
    _must_see(features, model.tier)
    if problem := problem_of(features, model, now):
        raise TierUnavailable(f"{problem} Name another model, or leave it to auto.", param="model")


def _made(features: Features, model: Model, now: Situation, rule: str, reasons: tuple[str, ...]) -> Route:
    return Route(model.tier, model.name, rule, reasons, estimate(features, model, now.day))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class Factor:
    """One of the four factors, as `explain` shows it."""

    name: str
    finding: str


def factors(features: Features) -> Iterator[Factor]:
    """The four factors of the decision: complexity, response time, budget and input type."""
    hints = features.hints
    signs = ", ".join(features.signals) or "no signal of depth"
    yield Factor(
        "task complexity",
        f"about {features.input_tokens} input tokens; {signs}; stakes {hints.stakes or 'not declared'}",
    )
    yield Factor(
        "response time", f"at most {hints.max_latency_s:g} s" if hints.max_latency_s is not None else "no bound"
    )
    yield Factor("budget", f"at most {usd(hints.max_cost_usd)}" if hints.max_cost_usd is not None else "no bound")
    kinds = [*([_count(features.images, "image")] if features.images else []), *(["audio"] if features.audio else [])]
    yield Factor("input type", " and ".join(["text", *kinds]))


@dataclass(frozen=True, slots=True)
class Alternative:
    """What one model would have cost and taken, and why it could not serve the request if it could not."""

    tier: Tier
    model: str
    estimate: Estimate
    problem: str | None


def alternatives(features: Features, now: Situation) -> Iterator[Alternative]:
    """Every model of the fleet, as `explain` lays them side by side."""
    for tier in now.fleet.tiers:
        for model in now.fleet.of_tier(tier):
            blind = (features.images or features.audio) and tier is not Tier.MLLM
            bound = excluded(features.hints, tier)
            problem = f"{model.name} cannot see or hear." if blind else bound or problem_of(features, model, now)
            yield Alternative(tier, model.name, estimate(features, model, now.day), problem)
