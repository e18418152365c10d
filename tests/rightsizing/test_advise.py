"""Advice names the one next step, says why, says when not to move, and never mixes what different sources say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.rightsizing.advice.advise import AdvicePolicy, advise
from orchestrator.rightsizing.advice.economics import audit_share, economics, rows_for_certificate, verdicts_needed
from orchestrator.rightsizing.advice.points import planes
from orchestrator.rightsizing.advice.steps import RULES
from orchestrator.rightsizing.evidence.facts import Audits, Quality, StageFacts, TaskFacts
from tests.rightsizing.made_facts import (
    LLM_USD,
    SPECIALIST_USD,
    UNTIL,
    certificate,
    certified,
    llm,
    model,
    on_the_reference,
    promoted,
    quality,
    specialist,
)

AUDITED = Audits(300, 300 * LLM_USD, 300 * LLM_USD * LLM_USD, in_stage=300, shadow=300)


def at_stage(stage: str, **more: object) -> TaskFacts:
    facts = replace(certified(), stage=StageFacts(stage, date(2026, 11, 8), certificate(), **more))  # type: ignore[arg-type]
    good = specialist(5, quality("agreement", 1_840, 2_000), delivered=(quality("agreement", 299, 300),))
    return replace(facts, models=(facts.models[0], good), audits=AUDITED)


NEVER_ASKED = {"more_labels": 400, "issued": False, "reason": "the bound is 0.971"}
STEPS = {
    "no_work": (on_the_reference(0, 0.0), None),
    "unknown_price": (replace(on_the_reference(50), models=(specialist(50),)), None),
    "at_risk": (promoted(audits_right=1_000), "rightsize demote triage"),
    "frozen": (at_stage("canary", frozen=True), None),
    "resting": (replace(certified(), stage=StageFacts("demoted", UNTIL - timedelta(days=2))), None),
    "retrain": (replace(certified(), stage=StageFacts("demoted", UNTIL - timedelta(days=9))), "rightsize train triage --from-history"),
    "too_little_volume": (on_the_reference(50), None),
    "train": (on_the_reference(), "rightsize train triage --from-history"),
    "collect": (on_the_reference(400), None),
    "certify": (replace(certified(StageFacts()), held_labels=600), "rightsize certify triage --target 0.98 --delta 0.05 --measure accuracy"),
    "label": (
        replace(certified(StageFacts(certificate=certificate(source="labels", **NEVER_ASKED))), models=(llm(30_000, quality("labels", 490, 500)), specialist(0, quality("labels", 460, 500)))),
        "rightsize label triage --draw 400 --out to-label.csv",
    ),
    "not_good_enough": (certified(StageFacts(certificate=certificate(issued=False, is_hopeless=True))), None),
    "renew": (
        replace(at_stage("full"), fresh_rows=1_200, stage=StageFacts("full", certificate=certificate(expires=UNTIL + timedelta(days=3)))),
        "rightsize certify triage --target 0.98 --delta 0.05 --measure agreement",
    ),
    "shadow": (certified(StageFacts()), "rightsize promote triage --to shadow"),
    "no_gain": (certified(StageFacts(certificate=certificate(share=0.0003, share_interval=_tiny)) if (_tiny := replace(certificate().share_interval, low=0.0, high=0.0004)) else None), None),
    "promote": (certified(), "rightsize promote triage --to shadow"),
    "wait_for_audits": (replace(at_stage("shadow"), audits=Audits(in_stage=12, shadow=12, shadow_usd=SPECIALIST_USD)), None),
    "settled": (promoted(), None),
}  # fmt: skip


@pytest.mark.parametrize("rule", STEPS)
def test_each_situation_has_its_one_next_step(rule: str) -> None:
    facts, command = STEPS[rule]
    step = advise(facts).step
    assert (step.rule, step.command) == (rule, command)
    assert step.why.endswith(".")


@pytest.mark.parametrize("stage, following", [("shadow", "canary"), ("canary", "full"), ("demoted", "shadow")])
def test_a_stage_leads_to_the_next_one_only(stage: str, following: str) -> None:
    facts = at_stage(stage)
    if stage == "demoted":
        facts = replace(facts, stage=replace(facts.stage, since=date(2026, 10, 1)))
    assert advise(facts).step.command == f"rightsize promote triage --to {following}"


def test_nobody_is_promoted_while_audits_lie_below_what_was_promised() -> None:
    facts = at_stage("canary")
    unsure = replace(facts.models[1], delivered=(quality("agreement", 293, 300),))
    step = advise(replace(facts, models=(facts.models[0], unsure))).step
    assert (step.rule, step.command) == ("unsure", None)
    assert "at risk" in step.why


@pytest.mark.parametrize("wrong", [{"is_void": True}, {"expires": UNTIL - timedelta(days=1)}])
def test_a_certificate_that_does_not_hold_is_made_anew_before_anything_is_promoted(wrong: dict[str, object]) -> None:
    facts = replace(certified(StageFacts(certificate=certificate(**wrong))), fresh_rows=5_000)
    assert advise(facts).step.command == "rightsize certify triage --target 0.98 --delta 0.05 --measure agreement"


def test_a_certificate_below_a_target_that_was_asked_for_is_made_anew() -> None:
    facts = replace(certified(StageFacts(certificate=certificate(target=0.9))), fresh_rows=5_000)
    assert advise(facts).step.rule == "promote"
    assert (
        advise(facts, AdvicePolicy(target=0.95)).step.command
        == "rightsize certify triage --target 0.95 --delta 0.05 --measure agreement"
    )


def test_a_certificate_that_ends_soon_asks_for_labels_where_the_rows_do_not_suffice() -> None:
    ending = certificate(expires=UNTIL + timedelta(days=3))
    step = advise(replace(at_stage("full"), stage=StageFacts("full", certificate=ending), held_labels=94)).step
    assert (step.rule, step.command) == ("renew", "rightsize label triage --draw 594 --out to-label.csv")
    assert "594 fresh labels of one draw would do" in step.why


def test_rows_for_a_certificate_of_agreement_come_from_the_shadow() -> None:
    """Half of them lay the grid of thresholds."""
    facts = certified(StageFacts())
    assert advise(facts).step.command == "rightsize promote triage --to shadow"
    waiting = replace(facts, stage=StageFacts("shadow"), fresh_rows=1_100)
    assert (advise(waiting).step.rule, advise(waiting).step.command) == ("collect", None)
    assert "88 more rows that both answered; the shadow brings them within 1 day" in advise(waiting).step.why
    assert advise(replace(waiting, fresh_rows=1_188)).step.rule == "certify"


def test_sources_are_never_mixed_in_one_plane() -> None:
    known = (quality("labels", 490, 500), quality("checks", 499, 500))
    facts = on_the_reference(
        30_000, None, specialist(0, quality("agreement", 92, 100), quality("labels", 460, 500)), known=known
    )
    found = advise(facts).planes
    assert [plane.source for plane in found] == ["labels", "agreement", "checks"]
    for plane in found:
        assert {point.quality.source for point in plane.points} == {plane.source}


def test_agreement_is_told_not_to_be_accuracy() -> None:
    assert any("How often answers are right is not known" in one for one in advise(certified()).missing)


def test_a_target_of_the_task_is_about_right_answers_and_not_about_agreement() -> None:
    facts = replace(certified(), quality_target=0.9)
    (plane,) = advise(facts).planes
    assert plane.needed == pytest.approx(0.98)
    labelled = replace(
        facts, models=(llm(30_000, quality("labels", 490, 500)), specialist(0, quality("labels", 460, 500)))
    )
    assert advise(labelled).planes[0].needed == 0.9


def test_the_best_single_model_must_be_good_enough_with_its_whole_interval() -> None:
    sure, unsure = (
        model("mid", "llm", 0, Decimal("0.01"), quality("labels", 975, 1_000)),
        model("small", "slm", 0, Decimal("0.001"), quality("labels", 97, 100)),
    )
    facts = on_the_reference(30_000, None, sure, unsure, known=(quality("labels", 980, 1_000),))
    found = advise(facts)
    assert found.best_single is not None
    assert (found.best_single.name, found.best_single.is_sure) == ("mid", True)
    assert found.best_single.saved_a_month.usd == 30_000 * (LLM_USD - Decimal("0.01"))
    assert (found.step.rule, found.step.opening, found.step.command) == ("single", "Next step", None)
    assert 'Requests can name it: "model": "mid".' in found.step.why
    assert any("Quality would be at risk with small alone" in one for one in found.reasons)
    assert any("more verdicts by labels would tell whether small reaches 96%" in one for one in found.missing)


def test_a_single_model_of_another_tier_is_reached_by_its_tier() -> None:
    small = model("small", "slm", 0, Decimal("0.001"), quality("labels", 975, 1_000))
    facts = on_the_reference(30_000, None, small, known=(quality("labels", 980, 1_000),))
    assert advise(facts).step.command == "rightsize submit FILE --task triage --tier slm"


def test_audits_that_leave_it_open_are_told_to_go_on_and_how_many() -> None:
    facts = promoted(audits_right=296, audits=300)
    assert any(
        "more audits would tell whether what it answered alone reaches 98%" in one for one in advise(facts).missing
    )


def test_a_single_model_that_does_it_already_is_left_alone() -> None:
    cheap = model("mid", "llm", 29_000, Decimal("0.01"), quality("labels", 975, 1_000))
    facts = replace(on_the_reference(1_000, 30_000.0, cheap, known=(quality("labels", 980, 1_000),)), jobs=30_000)
    assert advise(facts).step.rule == "single_in_use"


def test_a_cascade_costs_what_its_certificate_s_share_makes_it_cost() -> None:
    found = advise(certified())
    assert found.best_cascade is not None
    audited = Decimal("0.05")
    each = SPECIALIST_USD + (1 - Decimal("0.75") * (1 - audited)) * LLM_USD
    assert found.best_cascade.usd.usd == each
    assert found.best_cascade.usd.low_usd < each < found.best_cascade.usd.high_usd
    assert found.best_cascade.saved_a_month.usd == 30_000 * (LLM_USD - each)
    assert found.best_cascade.quality.low >= 0.98
    assert found.best_cascade.is_sure


def test_a_certificate_that_audits_contradict_counts_for_nothing() -> None:
    found = advise(promoted(audits_right=1_000))
    assert found.best_cascade is None
    assert found.step.opening == "Next step"
    assert found.step.command == "rightsize demote triage"


def test_a_small_task_audits_more_and_is_told_that_it_cannot_pay() -> None:
    policy = AdvicePolicy()
    assert audit_share(on_the_reference(30_000), policy) == 0.05
    assert audit_share(on_the_reference(600), policy) == 0.1
    assert audit_share(on_the_reference(30), policy) == 1.0
    found = advise(on_the_reference(30))
    assert found.step.is_warning
    assert "100% of what it answered would have to be audited" in found.step.why
    assert found.sums is not None
    assert found.sums.break_even_share is None


def test_labels_that_cost_more_than_they_save_are_not_given() -> None:
    facts = on_the_reference(3_000, None, known=(quality("labels", 490, 500),))
    dear = advise(facts, AdvicePolicy(label_usd=Decimal(1)))
    assert dear.step.rule == "too_little_volume"
    assert "for training and labels" in dear.step.why
    assert advise(facts, AdvicePolicy(label_usd=Decimal("0.01"))).step.rule == "train"


def test_what_must_be_answered_alone_to_pay_is_where_the_sums_meet() -> None:
    policy = AdvicePolicy(training_usd=Decimal(90), specialist_usd=Decimal("0.001"))
    sums = economics(on_the_reference(3_000), policy, 0)
    assert sums is not None
    assert sums.break_even_share is not None
    saved = 3 * 3_000 * (sums.break_even_share * 0.05 * (1 - sums.audit_share) - 0.001)
    assert saved == pytest.approx(90)


def test_the_front_holds_what_no_cheaper_way_matches() -> None:
    others = [
        model("a", "slm", 0, Decimal("0.001"), quality("labels", 900, 1_000)),
        model("b", "slm", 0, Decimal("0.002"), quality("labels", 895, 1_000)),
        model("c", "llm", 0, Decimal("0.003"), quality("labels", 700, 1_000)),
        model("d", "llm", 0, Decimal("0.020"), quality("labels", 960, 1_000)),
    ]
    (plane,) = planes(on_the_reference(100, None, *others, known=(quality("labels", 980, 1_000),)), 0.02, None, 0.02)
    standing = {point.name: point.standing for point in plane.points}
    assert standing == {"a": "front", "b": "uncertain", "c": "dominated", "d": "front", "big": "front"}
    assert [point.name for point in plane.front] == ["a", "d", "big"]


def test_labels_that_are_there_are_not_said_to_be_missing() -> None:
    assert any("How often answers are right is not known" in one for one in advise(certified()).missing)
    known = replace(certified().models[1], quality=(*certified().models[1].quality, quality("labels", 95, 100)))
    labelled = replace(certified(), models=(certified().models[0], known))
    assert {plane.source for plane in advise(labelled).planes} == {"agreement", "labels"}
    assert not any("is not known" in one for one in advise(labelled).missing)


def test_what_is_done_already_is_told_against_the_reference() -> None:
    before, now = advise(certified()).best_cascade, advise(promoted()).best_cascade
    assert before is not None
    assert now is not None
    assert (before.is_now, now.is_now) == (False, True)


def test_simulated_models_are_named() -> None:
    facts = certified()
    made_up = replace(facts, models=tuple(replace(one, simulated=True) for one in facts.models))
    assert advise(made_up).simulated == ("big", "specialist")
    assert all(point.simulated for plane in advise(made_up).planes for point in plane.points)


def test_the_verdicts_that_are_missing_would_do() -> None:
    more = verdicts_needed(0.99, 0.98)
    assert more is not None
    assert quality("labels", round(0.99 * 2 * more), 2 * more).low >= 0.98
    assert verdicts_needed(0.97, 0.98) is None
    assert rows_for_certificate(0.98, 0.05, 0.75) == 594


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["none", "shadow", "canary", "full", "demoted"]), st.booleans(), st.booleans(),
    st.integers(0, 3_000), st.floats(0, 1), st.one_of(st.none(), st.floats(0.5, 0.999)), st.integers(0, 400), st.booleans(),
)  # fmt: skip
def test_whatever_the_facts_there_is_one_step_with_a_sentence_and_json_holds_it(
    jobs: int, volume: int, stage: str, with_certificate: bool, issued: bool, fresh: int, right: float, target: float | None, age: int, free: bool
) -> None:  # fmt: skip
    held = certificate(issued=issued, expires=UNTIL + timedelta(days=age - 200)) if with_certificate else None
    known = Quality("agreement", right, 0.8 * right, min(1.0, right + 0.1), 50)
    first = model(
        "specialist",
        "slm",
        jobs // 2,
        Decimal(0) if free else SPECIALIST_USD,
        known,
        is_specialist=True,
        rejected=jobs // 3,
    )
    facts = TaskFacts(
        "triage", "1", date(2026, 10, 29), UNTIL, jobs, float(volume), "big", (llm(jobs - jobs // 2), first), StageFacts(stage, None, held),  # type: ignore[arg-type]
        fresh_rows=fresh, quality_target=target,
    )  # fmt: skip
    found = advise(facts)
    assert found.step.why
    assert found.step.command is None or found.step.command.startswith("rightsize ")
    json.dumps(found.as_dict(), allow_nan=False)
    if found.step.command is not None and found.step.command.endswith(("--to canary", "--to full")):
        assert held is not None
        assert held.holds_on(UNTIL)


def test_the_last_rule_always_decides() -> None:
    assert RULES[-1].__name__ == "settled"
