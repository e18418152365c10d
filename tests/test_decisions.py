"""The pure decisions: lifecycle, prices, routes and shares, as properties and as the table that the design gives."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import fleet, lifecycle
from orchestrator.contracts import JobState, OutcomeKind, Owner, Tier, Usage
from orchestrator.eligibility import Situation
from orchestrator.errors import InvalidConfig, InvalidRequest, TierUnavailable, UnknownModel
from orchestrator.fairness import MOST_BOOST, RAMP_S, Pace, Shares, boost, window
from orchestrator.flow.dispatch import ANEW_S, START, Place
from orchestrator.forecasting.cascades import PRIOR_SHARE, GoingOn
from orchestrator.hints import BOUNDED, NO_HINTS, hints_from
from orchestrator.pricing import RateCard, price
from orchestrator.requests import CHAT, CLASSIFY, EMBEDDINGS, SCORE, features_of
from orchestrator.routing import REJECTED_SHARE, Route, route
from orchestrator.store.dispatches import Assigned
from orchestrator.store.lanes import Lane

CONFIG = fleet.load(None)
NOW = Situation(CONFIG.fleet, CONFIG.policy, frozenset({"support-triage"}), date(2026, 11, 24))
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def routed(content: object, model: str = "auto", **hints: object) -> Route:
    body = {"model": model, "messages": [{"role": "user", "content": content}], "rightsize": hints}
    return route(features_of(CHAT, body, NO_HINTS), NOW)


@given(st.sampled_from(list(OutcomeKind)), st.integers(1, 30))
def test_whatever_an_attempt_comes_to_the_table_allows_what_follows(kind: OutcomeKind, attempt: int) -> None:
    assert lifecycle.after(kind, attempt, lifecycle.Limits()) in lifecycle.NEXT[JobState.ASSIGNED]


@pytest.mark.parametrize("state", JobState)
def test_nothing_follows_a_terminal_state_and_something_every_other(state: JobState) -> None:
    assert bool(lifecycle.NEXT[state]) is not lifecycle.is_terminal(state)


@given(st.integers(1, 50), st.floats(0, 0.999), st.floats(0, 600))
def test_a_retry_is_never_sooner_than_asked_and_bounded_otherwise(attempt: int, jitter: float, asked_s: float) -> None:
    limits = lifecycle.Limits()
    delay = lifecycle.retry_delay_s(attempt, limits, jitter, asked_s)
    assert asked_s <= delay <= max(asked_s, limits.max_delay_s)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_price_is_exact_and_adds_up(fresh: int, cached: int, spoken: int, reasoning: int) -> None:
    card = RateCard(
        date(2026, 1, 1),
        input=Decimal("0.15"),
        cached=Decimal("0.075"),
        output=Decimal("0.60"),
        reasoning=Decimal("1.1"),
    )
    whole = price(Usage(fresh + cached, cached, spoken + reasoning, reasoning), card)
    parts = (
        price(Usage(fresh), card)
        + price(Usage(cached, cached), card)
        + price(Usage(0, 0, spoken), card)
        + price(Usage(0, 0, reasoning, reasoning), card)
    )
    assert whole == parts


@pytest.mark.parametrize(
    "content, hints, tier, rule",
    [
        ([{"type": "text", "text": "What is this?"}, PICTURE], {}, Tier.MLLM, "needs_eyes_or_ears"),
        ([{"type": "text", "text": "What is this?"}, PICTURE], {"stakes": "high"}, Tier.MLLM, "needs_eyes_or_ears"),
        ("Should we merge?", {"stakes": "high"}, Tier.RLM, "high_stakes"),
        ("Where is my order?", {"task": "support-triage"}, Tier.SLM, "repetitive_domain"),
        ("Where is my order?", {"task": "support-triage", "stakes": "high"}, Tier.RLM, "high_stakes"),
        ("Where is my order?", {"task": "unknown"}, Tier.LLM, "default"),
        ("Where is my order?", {"tier": "rlm"}, Tier.RLM, "explicit_tier"),
        ("Where is my order?", {"max_cost_usd": "0.01"}, Tier.SLM, "default_fallback"),
        (
            "Analyse this plan step by step: it must be exactly right, at least without an unproved equation.",
            {},
            Tier.RLM,
            "deep_analysis",
        ),
    ],
)
def test_the_four_questions_are_asked_in_their_order(
    content: object, hints: dict[str, object], tier: Tier, rule: str
) -> None:
    found = routed(content, **hints)
    assert (found.tier, found.rule) == (tier, rule)
    assert all(reason.endswith(".") for reason in found.reasons)


def test_what_cannot_be_routed_is_refused_with_a_remedy() -> None:
    with pytest.raises(UnknownModel, match="Known: auto"):
        routed("Hello", model="gpt-9")
    with pytest.raises(TierUnavailable, match="cannot see"):
        routed([PICTURE], tier="slm")
    with pytest.raises(TierUnavailable, match="over the bound"):
        routed("Hello", max_cost_usd="0.0000001")


READERS = fleet.parse(
    {
        "models": {
            "big": {"tier": "llm", "engine": "simulated", "rates": [{"from": date(2026, 1, 1), "input": "1"}]},
            "little": {
                "tier": "slm",
                "engine": "llamacpp",
                "path": "x.gguf",
                "rates": [{"from": date(2026, 1, 1), "input": "1"}],
            },
            "judge": {
                "tier": "slm",
                "engine": "vllm",
                "path": "x",
                "endpoints": [CLASSIFY, SCORE],
                "max_input_tokens": 512,
                "rates": [{"from": date(2026, 1, 1), "input": "1"}],
            },
        },
        "policy": {"default_tier": "llm"},
    },
    "test",
)
AMONG_READERS = Situation(READERS.fleet, READERS.policy, frozenset(), date(2026, 11, 24))


def test_what_models_only_read_goes_to_those_that_name_the_endpoint_whatever_their_tier() -> None:
    body = {"input": ["prove this theorem by analysis, step by step"] * 200}
    assert route(features_of(CLASSIFY, body, NO_HINTS), AMONG_READERS).model == "judge"
    assert route(features_of(EMBEDDINGS, body, NO_HINTS), AMONG_READERS).model == "big"
    refusals = [
        (
            CHAT,
            {"model": "judge", "messages": [{"role": "user", "content": "Hi"}]},
            "It serves /v1/classify, /v1/score.",
        ),
        (SCORE, {"model": "little", "queries": "a", "documents": "b"}, "engine llamacpp has none of it"),
        (
            SCORE,
            {"model": "llm", "queries": "a", "documents": "b"},
            "big does not name /v1/score among its `endpoints`",
        ),
        (CLASSIFY, {"input": "x" * 4_000}, "judge takes at most 512 input tokens"),
    ]
    for endpoint, asked, told in refusals:
        with pytest.raises(TierUnavailable) as caught:
            route(features_of(endpoint, asked, NO_HINTS), AMONG_READERS)
        assert told in caught.value.message


def test_only_models_that_have_the_adapter_are_considered_and_an_unknown_one_names_those_there_are() -> None:
    card = [{"from": date(2026, 1, 1), "input": "1"}]
    small = {"tier": "slm", "engine": "vllm", "path": "x", "rates": card, "adapters": {"legal": "org/legal"}}
    tables = {"big": {"tier": "llm", "engine": "simulated", "rates": card}, "small": small}
    config = fleet.parse({"models": tables, "policy": {"default_tier": "llm"}}, "test")
    now = Situation(config.fleet, config.policy, frozenset(), date(2026, 11, 24))

    def asked(model: str, adapter: str | None) -> Route:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "rightsize": {"adapter": adapter}}
        return route(features_of(CHAT, body, NO_HINTS), now)

    assert asked("auto", None).model == "big"
    assert asked("auto", "legal").model == asked("slm", "legal").model == asked("small", "legal").model == "small"
    for model, adapter in (("auto", "medical"), ("llm", "legal"), ("big", "legal")):
        with pytest.raises(InvalidRequest, match=r"has the adapter .*: legal \(small\)"):
            asked(model, adapter)
    with pytest.raises(InvalidConfig, match='only engine "vllm" loads'):
        fleet.parse({"models": {"big": {**small, "engine": "simulated"}}}, "test")


def test_a_model_without_a_price_stops_the_start() -> None:
    with pytest.raises(InvalidConfig, match="has no price"):
        fleet.parse({"models": {"free": {"tier": "llm", "engine": "simulated"}}}, "rightsize.toml")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60))
def test_tenants_that_are_always_there_are_served_within_one_group_of_each_other(work: list[int]) -> None:
    shares, lanes = Shares(), [Lane(number, Owner(number, number, 1)) for number in range(1, 4)]
    totals = dict.fromkeys((1, 2, 3), 0)
    for amount in work:
        first = shares.rank(lanes)[0]
        shares.served(first, amount)
        totals[first.owner.tenant_id] += amount
    assert max(totals.values()) - min(totals.values()) <= max(work)


def served(lanes: list[Lane], rounds: int) -> dict[int, int]:
    shares, counts = Shares(), {lane.id: 0 for lane in lanes}
    for _ in range(rounds):
        first = shares.rank(lanes)[0]
        shares.served(first, 1)
        counts[first.id] += 1
    return counts


def test_shares_follow_the_weights_of_tenants_then_of_projects_then_are_even_among_batches() -> None:
    lanes = [
        Lane(1, Owner(1, 11, 1), tenant_weight=3),
        Lane(2, Owner(2, 21, 1), project_weight=4),
        Lane(3, Owner(2, 22, 1)),
        Lane(4, Owner(2, 22, 1)),
    ]
    counts = served(lanes, 4_000)
    assert counts[1] == pytest.approx(3_000, abs=2)
    assert counts[2] == pytest.approx(800, abs=2)
    assert counts[3] == pytest.approx(counts[4], abs=1)


def test_a_tenant_with_many_batches_gets_no_more_than_one_with_one() -> None:
    counts = served([Lane(99, Owner(2, 2, 1)), *(Lane(n, Owner(1, 1, 1)) for n in range(50))], 1_000)
    assert counts[99] == 500


def test_priority_rises_towards_the_deadline_and_starves_nobody() -> None:
    assert [boost(due) for due in (None, 2 * RAMP_S, RAMP_S, 0.0, -5.0)] == [1.0, 1.0, 1.0, MOST_BOOST, MOST_BOOST]
    assert boost(600) > boost(1_200)
    counts = served([Lane(1, Owner(1, 1, 1), due_s=0.0), Lane(2, Owner(2, 2, 1))], 1_000)
    assert counts[1] == pytest.approx(MOST_BOOST * counts[2], abs=5)
    within = Shares().rank([Lane(1, Owner(1, 1, 1)), Lane(2, Owner(1, 1, 1), due_s=60.0)])
    assert [lane.id for lane in within] == [2, 1]


@given(st.integers(1, 512), st.integers(1, 8), st.floats(0, 60))
def test_a_window_never_drains_and_never_floods(slots: int, workers: int, latency_s: float) -> None:
    found = window(slots=slots, workers=workers, latency_s=latency_s, most_group=500)
    assert slots <= found.jobs <= max(4_000 * workers, 2 * slots)
    assert 1 <= found.group <= 500
    assert found.group * found.dispatches >= found.jobs


def passes(latency_s: float, *, slots: int = 8, within_s: float = 10.0, pass_s: float = 0.05) -> list[int]:
    """What is outstanding after each pass at a model of which the fleet says 20 ms, and that takes `latency_s`."""
    pace, running, outstanding, now = Pace(), 0.0, 0, 0.0
    found = []
    while now < within_s:
        allowed = window(slots=slots, workers=1, latency_s=0.02, most_group=500, seen_rate=pace.look(outstanding, now))
        given = max(0, allowed.jobs - outstanding)
        pace.gave(given)
        outstanding += given
        found.append(outstanding)
        running += min(outstanding, slots) * pass_s / latency_s
        ended = min(outstanding, int(running))
        running, outstanding, now = running - ended, outstanding - ended, now + pass_s
    return found


@pytest.mark.parametrize("slower", [1, 5, 50])
def test_an_unmeasured_model_gets_as_much_as_it_was_seen_to_end(slower: int) -> None:
    latency_s = slower * 0.02
    outstanding = passes(latency_s)
    of_its_pace = window(slots=8, workers=1, latency_s=latency_s, most_group=500).jobs
    assert max(outstanding) <= max(10, 4 * of_its_pace), "what it is given ends in about two seconds"
    assert outstanding[0] == 10
    assert outstanding[-1] >= of_its_pace, "one that is as quick as was said is never held back for long"


def test_a_model_that_ends_nothing_gets_no_more_than_its_slots() -> None:
    assert set(passes(1e9, slots=64)) == {80}
    assert window(slots=64, workers=1, latency_s=0.02, most_group=500).jobs == 1_600


def test_a_pace_forgets_what_is_long_ago_and_is_never_below_nothing() -> None:
    pace = Pace()
    assert pace.look(5, 0.0) == 0
    pace.gave(100)
    assert pace.look(55, 1.0) == 50
    assert pace.look(500, 2.0) == 25, "another orchestrator gave out work in between"
    assert pace.look(500, 100.0) == 0


def test_a_lane_that_grows_is_looked_at_from_its_start_now_and_then() -> None:
    now = time.monotonic()
    singles, batch = Place(begun=now), Place(begun=now)
    for place, grows in ((singles, True), (batch, False)):
        place.move(Assigned(1, 1, 5, 7), grows=grows, now=now + ANEW_S / 2)
        assert place.after == (5, 7)
        place.move(Assigned(2, 1, 6, 8), grows=grows, now=now + 2 * ANEW_S)
    assert singles.after == START
    assert batch.after == (6, 8)


@pytest.mark.parametrize(
    "content, hints, tier, rule",
    [
        ("Should we merge?", {"stakes": "high", "max_tier": "llm"}, Tier.LLM, "high_stakes_fallback"),
        ("Where is my order?", {"min_tier": "rlm"}, Tier.RLM, "default_fallback"),
        ("Where is my order?", {"max_tier": "slm"}, Tier.SLM, "default_fallback"),
        ("Where is my order?", {"min_tier": "slm", "max_tier": "rlm"}, Tier.LLM, "default"),
        ([{"type": "text", "text": "What is this?"}, PICTURE], {"max_tier": "slm"}, Tier.MLLM, "needs_eyes_or_ears"),
    ],
)
def test_bounds_take_the_nearest_tier_that_they_allow(
    content: object, hints: dict[str, object], tier: Tier, rule: str
) -> None:
    found = routed(content, **hints)
    assert (found.tier, found.rule) == (tier, rule)
    if rule.endswith("fallback"):
        assert any(reason.startswith("The caller wants") for reason in found.reasons)


def test_a_cascade_asks_its_tiers_in_order_and_holds_what_all_can_cost() -> None:
    found = routed("Where is my order?", cascade=["llm", "rlm"])
    each = [routed("Where is my order?", tier=tier).estimate.hold_usd for tier in ("llm", "rlm")]
    assert (found.tier, found.rule, len(found.cascade)) == (Tier.LLM, "cascade", 1)
    assert found.estimate.hold_usd == sum(each)
    assert routed("Where is my order?", cascade=["llm", "rlm"], max_cost_usd=str(each[0])).cascade == ()
    seen = routed([{"type": "text", "text": "What is this?"}, PICTURE], cascade=["llm", "mllm"])
    assert (seen.tier, seen.cascade) == (Tier.MLLM, ())
    with pytest.raises(TierUnavailable, match="No model of the cascade"):
        routed([{"type": "text", "text": "What is this?"}, PICTURE], cascade=["llm", "rlm"])


def test_what_a_row_and_its_batch_say_of_a_cascade_holds_together() -> None:
    def of(row: dict[str, object], batch: dict[str, object], model: str = "auto") -> Route:
        body = {"model": model, "messages": [{"role": "user", "content": "Where is my order?"}], "rightsize": row}
        return route(features_of(CHAT, body, hints_from(batch)), NOW)

    assert of({"cascade": ["llm", "rlm"]}, {"cascade": ["slm", "llm"]}).tier == Tier.LLM  # the row's own
    assert of({}, {"cascade": ["llm", "rlm"]}).rule == "cascade"
    assert of({"tier": "rlm"}, {"cascade": ["slm", "llm"]}).rule == "explicit_tier"
    for model, rule in (("rlm", "explicit_tier"), (CONFIG.fleet.of_tier(Tier.RLM)[0].name, "explicit_model")):
        found = of({}, {"cascade": ["slm", "llm"]}, model)
        assert (found.tier, found.rule, found.cascade) == (Tier.RLM, rule, ())
    bounded = of({"max_tier": "llm"}, {"cascade": ["llm", "rlm"]})
    assert (bounded.tier, bounded.cascade) == (Tier.LLM, ())
    assert "rlm is left out: the caller wants llm at most." in bounded.reasons
    with pytest.raises(TierUnavailable, match="No model of the cascade"):
        of({"cascade": ["llm", "rlm"]}, {"max_tier": "slm"})
    with pytest.raises(TierUnavailable, match=r"at least.*at most|at most.*at least"):
        of({"min_tier": "rlm"}, {"max_tier": "llm"})
    with pytest.raises(InvalidRequest, match="leave `model` to auto"):
        of({"cascade": ["llm", "rlm"]}, {}, "llm")


def test_bounds_never_send_text_to_where_eyes_are() -> None:
    for bound in ("min_tier", "max_tier"):
        for tier in BOUNDED:
            assert routed("Where is my order?", **{bound: tier}).tier in BOUNDED


def test_a_tier_that_cannot_take_over_says_why() -> None:
    assert routed("Hello", tier="rlm", escalate=True).reasons[-1].endswith("The fleet has no tier above rlm.")
    assert "over the bound" in routed("Hello", tier="llm", escalate=True, max_cost_usd="0.05").reasons[-1]
    assert "at most" in routed("Hello", tier="llm", escalate=True, max_tier="llm").reasons[-1]


def test_a_cascade_is_expected_to_cost_its_first_model_and_a_share_of_those_behind_it() -> None:
    found = routed("Where is my order?", cascade=["llm", "rlm"])
    first, second = (routed("Where is my order?", tier=tier).estimate.cost_usd for tier in ("llm", "rlm"))
    assert found.estimate.cost_usd == first + REJECTED_SHARE * second


def test_rows_go_on_down_a_cascade_as_often_as_answers_were_not_accepted() -> None:
    fresh, known = GoingOn({}), GoingOn({("triage", "small"): (900, 995)})
    assert sum(fresh.goes_on("triage", "small") for _ in range(1_000)) == pytest.approx(1_000 * PRIOR_SHARE, abs=1)
    assert sum(known.goes_on("triage", "small") for _ in range(1_000)) == pytest.approx(1_000 * 900.5 / 1_005, abs=1)
    assert sum(known.goes_on("other", "small") for _ in range(1_000)) == pytest.approx(50, abs=1)
    assert float(REJECTED_SHARE) == PRIOR_SHARE
