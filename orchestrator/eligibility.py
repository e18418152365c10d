"""Whether a model may take a request, why not, and what the request would take on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Final

from orchestrator.contracts import Tier, Usage
from orchestrator.fleet import Fleet, Model, Policy
from orchestrator.hints import BOUNDED, Hints
from orchestrator.order import Lengths
from orchestrator.pricing import price, usd
from orchestrator.promotion import Promotion
from orchestrator.requests import CLASSIFY, POOLING, SCORE, Features

TYPICAL_OUTPUT_TOKENS: Final = 200
"""What a request is expected to answer until its task has been measured; never more than it may."""
SURELY: Final = 4
"""A caller's own choice of model is refused for its length only where the text is this much over: tokens are guessed by characters, and the model's engine counts them."""
JUDGE_TOKENS: Final = 8
"""What a judge writes: the number of an answer."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request is expected to take on a model, and the most that it can cost there."""

    cost_usd: Decimal
    hold_usd: Decimal
    latency_s: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known besides the request: who serves what today, which tasks have a specialist, how long their answers were."""

    fleet: Fleet
    policy: Policy
    specialists: Set[str]
    day: date
    lengths: Lengths = field(default_factory=dict)
    promotions: Mapping[str, Promotion] = field(default_factory=dict)
    """By task, how far its specialist is promoted; one without a promotion answers as the decision tree says."""


def excluded(hints: Hints, tier: Tier) -> str | None:
    """Why the caller's bounds exclude a tier, or None."""
    if tier not in BOUNDED:
        return None
    place = BOUNDED.index(tier)
    if hints.min_tier is not None and place < BOUNDED.index(hints.min_tier):
        return f"The caller wants {hints.min_tier} at least."
    if hints.max_tier is not None and place > BOUNDED.index(hints.max_tier):
        return f"The caller wants {hints.max_tier} at most."
    return None


def specialist_first(models: tuple[Model, ...], wanted: bool) -> tuple[Model, ...]:
    """The specialist before the tier's default, for a task that has one."""
    return tuple(sorted(models, key=lambda model: model.engine != "specialist")) if wanted else models


def problem_of(features: Features, model: Model, now: Situation) -> str | None:
    """Why a model cannot take a request within its bounds, or None."""
    hints = features.hints
    if problem := _unserved(features, model, now):
        return problem
    if hints.adapter is not None and hints.adapter not in model.adapters:
        return f"{model.name} has no adapter {hints.adapter}."
    if model.engine == "specialist":
        if hints.task is None or hints.task not in now.specialists:
            return f"{model.name} serves only tasks with a trained specialist."
        if features.endpoint != "/v1/chat/completions":
            return f"{model.name} answers chat requests only."
    elif hints.task is not None and model.tasks and hints.task not in model.tasks:
        return f"{model.name} does not serve task {hints.task}."
    sure = SURELY if features.model == model.name else 1
    if features.longest_tokens > sure * model.max_input_tokens:
        return f"{model.name} takes at most {model.max_input_tokens} input tokens, not about {features.longest_tokens}."
    if hints.max_latency_s is not None and model.expected_latency_s > hints.max_latency_s:
        return f"{model.name} takes about {model.expected_latency_s:g} s, over the bound of {hints.max_latency_s:g} s."
    if hints.max_cost_usd is not None:
        hold = estimate(features, model, now.day).hold_usd
        if hold > hints.max_cost_usd:
            return f"{model.name} could cost {usd(hold)}, over the bound of {usd(hints.max_cost_usd)}."
    return None


def _unserved(features: Features, model: Model, now: Situation) -> str | None:
    """Why a model does not serve an endpoint, as far as the fleet can tell, or None."""
    endpoint = features.endpoint
    if model.endpoints and endpoint not in model.endpoints:
        return f"{model.name} does not serve {endpoint}. It serves {', '.join(model.endpoints)}."
    if endpoint in (CLASSIFY, SCORE) and model.engine in ("specialist", "llamacpp"):
        return f"{model.name} does not serve {endpoint}: engine {model.engine} has none of it."
    chosen = features.model == model.name  # then its engine says what it serves
    if not model.endpoints and not chosen and endpoint in POOLING & now.fleet.named_endpoints:
        return f"{model.name} does not name {endpoint} among its `endpoints`."
    return None


def estimate(features: Features, model: Model, day: date) -> Estimate:
    """What a request would take on a model: expected cost, the most it can cost, median seconds."""
    card = model.card_on(day)
    most = features.max_output_tokens
    most = min(model.max_output_tokens if most is None else most, 1_000_000)
    likely = _usage(features, min(most, TYPICAL_OUTPUT_TOKENS), most_thought(features, model) // 2)
    worst = _usage(features, most, most_thought(features, model))
    # The model's own tokeniser may count more than ours: the hold leaves room for twice the estimate.
    worst = replace(worst, input_tokens=2 * worst.input_tokens)
    return Estimate(cost_usd=price(likely, card), hold_usd=price(worst, card), latency_s=model.expected_latency_s)


def _usage(features: Features, answer: int, thought: int) -> Usage:
    """What a request takes whose every answer has so many tokens, after so many of thought; the judge's part included."""
    samples = features.hints.samples or 1
    read, written, thought = features.input_tokens * samples, answer * features.choices, thought * features.choices
    if features.hints.vote == "judge":
        # The judge reads the question and all answers, and names one of them.
        read += features.input_tokens + written
        written += JUDGE_TOKENS
    return Usage(read, 0, written + thought, thought, features.images * samples, features.audio_seconds * samples)


def most_thought(features: Features, model: Model) -> int:
    """How many tokens one thought may have on a model."""
    if model.reasoning is None or features.effort == "none":
        return 0
    return features.hints.thinking_tokens or model.reasoning.tokens_for(features.effort)
