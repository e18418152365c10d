"""What a task's stage and the learned router mean for one request: pure decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from orchestrator import fleet
from orchestrator.contracts import Advised
from orchestrator.eligibility import Situation
from orchestrator.hints import NO_HINTS
from orchestrator.promotion import Promotion, Stage, drawn
from orchestrator.requests import CHAT, features_of
from orchestrator.routing import Route, route

CONFIG = fleet.load(None)
TASK = "support-triage"
BARE = Situation(CONFIG.fleet, CONFIG.policy, frozenset({TASK}), date(2026, 11, 28))


def standing(stage: Stage, share: float = 1.0, audit_share: float = 0.25) -> Promotion:
    return Promotion(7, TASK, stage, "cert_1", "v1", "specialist", "sim-llm", 0.9, share, audit_share)


def routed(stage: Stage | None, lot: float = 0.0, share: float = 1.0, model: str = "auto", **hints: object) -> Route:
    now = BARE if stage is None else replace(BARE, promotions={TASK: standing(stage, share)})
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Where is it?"}],
        "rightsize": {"task": TASK, **hints},
    }
    return route(features_of(CHAT, body, NO_HINTS), now, lot)


def test_in_full_the_specialist_is_asked_first_and_the_reference_behind_it() -> None:
    found = routed("full")
    assert (found.model, found.cascade, found.rule) == ("specialist", ("sim-llm",), "certified")
    assert "cert_1" in " ".join(found.reasons)
    assert found.estimate.hold_usd > CONFIG.fleet.named("sim-llm").card_on(BARE.day).request


@pytest.mark.parametrize("lot, model", [(0.0, "specialist"), (0.29, "specialist"), (0.3, "sim-llm"), (0.99, "sim-llm")])
def test_a_canary_takes_its_share(lot: float, model: str) -> None:
    assert routed("canary", lot, share=0.3).model == model


@pytest.mark.parametrize("stage", ["shadow", "demoted"])
def test_without_its_certificate_the_specialist_answers_nothing(stage: Stage) -> None:
    found = routed(stage)
    assert (found.model, found.rule, found.cascade) == ("sim-llm", "default", ())
    assert f"in stage {stage}" in " ".join(found.reasons)


def test_a_task_that_was_never_promoted_goes_as_the_tree_says() -> None:
    assert routed(None).rule == "repetitive_domain"


def test_a_caller_s_own_choice_wins_over_any_stage() -> None:
    assert routed("full", model="sim-rlm").rule == "explicit_model"
    assert routed("full", tier="llm").rule == "explicit_tier"
    assert routed("full", stakes="high").rule == "high_stakes"
    assert routed("full", cascade=["llm", "rlm"]).rule == "cascade"
    assert routed("full", min_tier="llm").model == "sim-llm"
    assert routed("full", max_cost_usd="0.01").rule != "certified"


def test_audits_are_drawn_of_what_the_specialist_is_asked_and_shadows_of_what_the_reference_answers() -> None:
    full, shadow = standing("full"), standing("shadow")
    assert drawn(full, "certified", "specialist", 0.24) is not None
    assert drawn(full, "certified", "specialist", 0.25) is None
    assert drawn(full, "explicit_model", "sim-llm", 0.0) is None
    one = drawn(shadow, "default", "sim-llm", 0.1)
    assert one is not None
    assert (one.kind, one.probability, one.stage_id) == ("shadow", 0.25, 7)
    assert drawn(shadow, "high_stakes", "sim-rlm", 0.0) is None
    assert drawn(standing("demoted", audit_share=1.0), "default", "sim-llm", 0.0) is None
    assert drawn(None, "default", "sim-llm", 0.0) is None


def asked(advised: Advised | None, **hints: object) -> Route:
    body = {"messages": [{"role": "user", "content": "Which planet is the largest?"}], "rightsize": hints}
    return route(features_of(CHAT, body, NO_HINTS), BARE, 0.0, advised)


def test_the_learned_router_is_heard_where_the_tree_comes_to_its_last_question() -> None:
    said = Advised("sim-slm", {"sim-slm": 0.9, "sim-llm": 0.95}, "v1")
    found = asked(said)
    assert (found.model, found.rule) == ("sim-slm", "learned_router")
    assert "sim-slm 90%, sim-llm 95%" in found.reasons[-1]
    assert asked(None).rule == "default"
    gone = asked(replace(said, model="gone"))
    assert gone.rule == "default"
    assert "The learned router would take gone, which is no model of the fleet." in gone.reasons
    assert asked(said, stakes="high").rule == "high_stakes"
    assert asked(said, tier="llm").rule == "explicit_tier"
    assert asked(said, min_tier="llm").model == "sim-llm"
    assert asked(said, task="unknown-task").rule == "default"
