"""Facts of a made-up task, as the store would count them: support tickets on a language model, with or without a specialist."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from orchestrator.rightsizing.evidence.facts import (
    Audits,
    CertificateFacts,
    Interval,
    ModelFacts,
    Quality,
    Source,
    StageFacts,
    TaskFacts,
)
from orchestrator.rightsizing.guarantees.bounds import binomial_interval

SINCE, UNTIL = date(2026, 10, 29), date(2026, 11, 27)
LLM_USD, SLM_USD, SPECIALIST_USD, RLM_USD = Decimal("0.05"), Decimal("0.001"), Decimal("0.00002"), Decimal("0.5")


def quality(source: Source, right: int, n: int) -> Quality:
    """The quality that so many right ones show."""
    low, high = binomial_interval(right, n)
    return Quality(source, right / n, low, high, n)


def model(name: str, tier: str, jobs: int, usd: Decimal, *found: Quality, **more: Any) -> ModelFacts:
    """A model whose every answer cost the same."""
    answers = jobs + int(more.get("rejected", 0))
    given: dict[str, Any] = {
        "revision": "1", "simulated": False, "charge_usd": usd * answers, "cost_usd": usd * answers, "charge_squares": usd * usd * answers,
        "rejected_usd": usd * int(more.get("rejected", 0)), "expected_usd": usd, "latency_s": 1.0, "quality": found,
    }  # fmt: skip
    return ModelFacts(tier=tier, model=name, jobs=jobs, **(given | more))


def llm(jobs: int, *found: Quality, **more: Any) -> ModelFacts:
    """The reference."""
    return model("big", "llm", jobs, LLM_USD, *found, **more)


def specialist(jobs: int = 0, *found: Quality, **more: Any) -> ModelFacts:
    """A trained one."""
    return model("specialist", "slm", jobs, SPECIALIST_USD, *found, is_specialist=True, **more)


def on_the_reference(jobs: int = 30_000, a_month: float | None = None, *others: ModelFacts, **more: Any) -> TaskFacts:
    """A task that the reference answers, all of it."""
    found = llm(jobs, *more.pop("known", ()))
    given: dict[str, Any] = {"jobs_a_month": float(jobs if a_month is None else a_month), "models": (found, *others)}
    return TaskFacts("triage", "1", SINCE, UNTIL, jobs, reference="big", **(given | more))


def certificate(**more: Any) -> CertificateFacts:
    """That the specialist may answer three quarters alone."""
    given: dict[str, Any] = {
        "issued": True, "source": "agreement", "model": "specialist", "target": 0.98, "delta": 0.05, "n": 2_000, "threshold": 0.83,
        "share": 0.75, "share_interval": Interval(0.73, 0.77), "bound": 0.9805, "accepted": 1_500, "errors": 18, "day": date(2026, 11, 1),
        "expires": date(2027, 1, 30),
    }  # fmt: skip
    return CertificateFacts(**(given | more))


def certified(stage: StageFacts | None = None, **more: Any) -> TaskFacts:
    """A task with a specialist and a certificate, before its promotion."""
    facts = on_the_reference(30_000, None, specialist(0, quality("agreement", 1_840, 2_000)), **more)
    return replace(facts, stage=stage or StageFacts(certificate=certificate()))


def promoted(audits_right: int = 1_090, audits: int = 1_100, **more: Any) -> TaskFacts:
    """A task whose specialist answers in full: 22,500 of 30,000 jobs alone, the rest escalated."""
    seen = quality("agreement", audits_right, audits)
    first = specialist(22_500, quality("agreement", 1_840, 2_000), rejected=7_500, delivered=(seen,))
    price = LLM_USD
    given: dict[str, Any] = {
        "stage": StageFacts("full", date(2026, 11, 8), certificate()), "escalated": 7_500, "training_usd": Decimal("2.00"),
        "training_s": 74.0, "audits": Audits(audits, price * audits, price * price * audits),
    }  # fmt: skip
    facts = on_the_reference(7_500, 30_000.0, first)
    return replace(facts, jobs=30_000, **(given | more))
