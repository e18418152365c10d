"""Savings add up to what was spent, are net of audits and training, and say how sure they are."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from decimal import Decimal

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.advice.economics import AdvicePolicy
from orchestrator.rightsizing.advice.prices import mean_price
from orchestrator.rightsizing.advice.savings import savings, task_savings
from orchestrator.rightsizing.evidence.facts import Amount, Audits, TaskFacts
from tests.rightsizing.made_facts import LLM_USD, SPECIALIST_USD, model, on_the_reference, promoted, quality

POLICY = AdvicePolicy()


def test_a_promoted_task_saves_what_the_reference_would_have_cost_less_all_that_was_spent() -> None:
    found = task_savings(promoted(), POLICY)
    spent = 30_000 * SPECIALIST_USD + 7_500 * LLM_USD
    assert found.spent_usd == spent
    assert found.escalation_usd == 7_500 * SPECIALIST_USD
    assert found.on_reference == Amount.exactly(30_000 * LLM_USD)
    assert found.saved is not None
    assert found.saved.usd == 30_000 * LLM_USD - spent - 1_100 * LLM_USD - Decimal("2.00")
    assert found.whole_usd == spent + found.audit_usd + found.training_usd


def test_quality_stands_beside_the_saving_by_one_source() -> None:
    found = task_savings(promoted(), POLICY)
    assert found.quality is not None
    assert found.reference_quality is not None
    assert found.quality.source == found.reference_quality.source == "agreement"
    assert found.quality.value == pytest.approx(0.75 * 1_090 / 1_100 + 0.25)
    assert found.quality_change is not None
    assert -0.02 < found.quality_change.low < found.quality_change.high <= 0


def test_what_the_reference_would_have_cost_rests_on_audits_and_has_their_interval() -> None:
    draw = random.Random(3)
    costs = [Decimal(draw.randrange(20, 90)) / 1_000 for _ in range(400)]
    audits = Audits(400, sum(costs, Decimal(0)), sum((cost * cost for cost in costs), Decimal(0)))
    found = task_savings(replace(promoted(), audits=audits), POLICY)
    assert found.rests_on_audits
    assert found.on_reference is not None
    mean = sum(costs, Decimal(0)) / 400
    assert found.on_reference.usd == 7_500 * LLM_USD + 22_500 * mean
    assert found.on_reference.low_usd < found.on_reference.usd < found.on_reference.high_usd
    assert found.share is not None
    assert found.share.low < float(found.saved.usd / found.on_reference.usd if found.saved else 0) < found.share.high


def test_the_interval_of_a_mean_price_covers_it_as_often_as_it_says() -> None:
    draw = random.Random(5)
    missed = 0
    for _ in range(400):
        charges = [Decimal(draw.randrange(1, 1_001)) for _ in range(30)]
        found = mean_price(sum(charges, Decimal(0)), sum((one * one for one in charges), Decimal(0)), 30)
        missed += not found.low_usd <= Decimal("500.5") <= found.high_usd
    assert missed <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_equal_charges_have_a_price_without_an_interval() -> None:
    assert mean_price(Decimal("0.30"), Decimal("0.03"), 3) == Amount.exactly(Decimal("0.1"))
    assert mean_price(Decimal("0.30"), None, 3) == Amount.exactly(Decimal("0.1"))


def test_a_task_on_the_reference_saved_nothing() -> None:
    found = task_savings(on_the_reference(), POLICY)
    assert found.saved == Amount.exactly(Decimal(0))
    assert found.break_even_jobs is None
    assert not found.rests_on_audits
    assert found.quality_change is None


def test_training_that_was_never_earned_is_a_loss_and_not_hidden() -> None:
    found = task_savings(replace(on_the_reference(100), training_usd=Decimal(40)), POLICY)
    assert found.saved is not None
    assert found.saved.usd == -40
    assert found.break_even_jobs is None


def test_the_break_even_volume_is_where_the_saving_has_paid_the_training() -> None:
    facts = replace(promoted(), training_usd=Decimal(100))
    found = task_savings(facts, POLICY)
    assert found.saved is not None
    assert found.break_even_jobs is not None
    each = (found.saved.usd + 100) / facts.jobs
    assert (found.break_even_jobs - 1) * each < 100 <= found.break_even_jobs * each


def test_the_best_single_model_is_told_with_its_quality_and_is_surely_good_enough() -> None:
    cheap = model("mid", "llm", 0, Decimal("0.01"), quality("labels", 975, 1_000))
    unsure = model("small", "slm", 0, Decimal("0.001"), quality("labels", 97, 100))
    found = task_savings(on_the_reference(30_000, None, cheap, unsure, known=(quality("labels", 980, 1_000),)), POLICY)
    assert found.single == "mid"
    assert found.single_quality == quality("labels", 975, 1_000)
    assert found.on_single == Amount.exactly(Decimal(300))


def test_tasks_add_up_and_those_without_a_reference_s_price_are_named_and_left_out() -> None:
    bare = replace(
        on_the_reference(50), task="odd", models=(model("specialist", "slm", 50, SPECIALIST_USD, is_specialist=True),)
    )
    found = savings([promoted(), bare])
    one, other = found.tasks
    assert other.on_reference is None
    assert other.saved is None
    assert found.unknown == ("odd",)
    assert found.spent_usd == one.spent_usd + other.spent_usd
    assert found.saved == one.saved
    assert found.jobs == 30_050


def test_periods_are_never_mixed() -> None:
    other = replace(promoted(), since=promoted().until)
    with pytest.raises(InvalidRequest, match="same first and last day"):
        savings([promoted(), other])
    with pytest.raises(InvalidRequest, match="at least one task"):
        savings([])


def test_programs_get_sums_as_decimal_texts() -> None:
    told = json.loads(json.dumps(savings([promoted()]).as_dict(), allow_nan=False))
    assert told["tasks"][0]["spent_usd"] == "375.6"
    assert told["on_reference"] == {"usd": "1500", "low_usd": "1500", "high_usd": "1500"}
    assert told["since"] == "2026-10-29"


@pytest.mark.parametrize("facts", [on_the_reference(0, 0.0), replace(on_the_reference(0, 0.0), models=())])
def test_a_task_without_work_has_savings_of_nothing(facts: TaskFacts) -> None:
    found = savings([facts])
    assert found.spent_usd == 0
    assert found.share is None
