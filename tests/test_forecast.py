"""Forecasts of batches: intervals that hold what they promise, whatever is known, and the closest history that answers."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.service import forecast as made_up
from orchestrator.contracts import Tier, Usage
from orchestrator.eligibility import estimate
from orchestrator.fleet import Model
from orchestrator.forecasting import (
    Basis,
    Bounds,
    Histories,
    Rows,
)
from orchestrator.forecasting.batch import Usd, _usd
from orchestrator.forecasting.prediction import student
from orchestrator.forecasting.rows import MOST_GROUPS
from orchestrator.pricing import ZERO, price
from orchestrator.requests import EMBEDDINGS
from tests.forecasts import CARDS, DAY, MODELS, NOTHING, Job, history, job, request, rows, some_jobs, told, width

# The interval


def test_of_made_up_batches_about_four_fifths_cost_what_the_interval_says() -> None:
    score = made_up.scored(made_up.trials(made_up.TRIALS))
    assert made_up.LEAST <= score.share <= made_up.MOST, score
    assert score.width < 0.5, score


def test_the_interval_of_a_task_never_seen_is_honest_and_wide() -> None:
    known, unknown = (made_up.scored(some(100, seed=7)) for some in (made_up.trials, made_up.unknown))
    assert unknown.share >= made_up.LEAST, unknown
    assert unknown.width > 3 * known.width, (known, unknown)


@pytest.mark.parametrize("df, quantile", [(1, 3.078), (2, 1.886), (5, 1.476), (30, 1.310), (1e9, 1.2816)])
def test_students_t_is_that_of_the_tables(df: float, quantile: float) -> None:
    assert student(df) == pytest.approx(quantile, rel=0.025 if df == 1 else 0.002)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "triage", "reply"]), st.sampled_from(list(MODELS)), st.integers(0, 50_000),
            st.one_of(st.none(), st.integers(1, 8_000)), st.integers(1, 4),
        ),
        max_size=8,
    ),
    st.dictionaries(
        st.tuples(st.sampled_from([None, "triage", "reply"]), st.sampled_from(list(MODELS))),
        st.lists(
            st.lists(
                st.builds(
                    job, st.integers(1, 20_000), st.integers(0, 5_000), st.integers(0, 5_000), ok=st.booleans(),
                    seconds=st.floats(0, 1_000),
                ),
                min_size=1, max_size=8,
            ),
            min_size=1, max_size=3,
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_whatever_is_known_no_interval_is_negative_or_above_the_most_that_can_be_charged(
    asked: list[tuple[str | None, str, int, int | None, int]],
    seen: dict[tuple[str | None, str], list[list[Job]]],
) -> None:
    found = Rows()
    for task, model, read, limit, samples in asked:
        rows(request(task, read, limit, samples=samples), model=model, into=found)
    given_ = told(found, Histories({key: history(*batches) for key, batches in seen.items()}))
    for figures in (given_.whole, *given_.tiers.values()):
        cost = figures.cost_usd
        assert 0 <= cost.low <= cost.expected <= cost.high <= figures.at_most_usd
        for bounds in (figures.input_tokens, figures.output_tokens, figures.seconds):
            assert 0 <= bounds.low <= bounds.expected <= bounds.high < float("inf")
        assert 0 <= figures.failed <= figures.jobs
    assert sum(one.jobs for one in given_.tiers.values()) == given_.whole.jobs == len(asked)
    assert given_.whole.at_most_usd >= sum(
        (estimate(request(t, r, o, samples=s), MODELS[m], DAY).hold_usd for t, m, r, o, s in asked), ZERO
    )


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3_000), st.integers(0, 2**16))
def test_the_more_was_seen_the_narrower_is_the_interval(batches: int, more: int, jobs: int, seed: int) -> None:
    batch = some_jobs(12, seed)
    asked = Rows()
    for _ in range(jobs):
        rows(request(), into=asked)
    few, many = (
        told(asked, Histories({("triage", "large"): history(*[batch] * count)})) for count in (batches, batches + more)
    )
    # The last digit is rounded outwards.
    assert width(many) <= width(few) + 2e-6 / float(few.whole.cost_usd.expected)
    unknown = told(asked)
    assert unknown.whole.cost_usd.high - unknown.whole.cost_usd.low > few.whole.cost_usd.high - few.whole.cost_usd.low


@given(st.integers(0, 20), st.integers(0, 5_000))
def test_rows_that_cost_nothing_change_no_cost(free: int, read: int) -> None:
    known = Histories({("triage", "large"): history(some_jobs(40))})
    before, after = rows(request(), request(read=300)), rows(request(), request(read=300))
    for _ in range(free):
        rows(request("other", read), model="free", into=after)
    one, other = told(before, known).whole, told(after, known).whole
    assert (one.cost_usd, one.at_most_usd) == (other.cost_usd, other.at_most_usd)
    assert other.jobs == one.jobs + free


def test_batches_that_differ_widen_the_interval_of_a_large_batch_and_not_those_that_do_not() -> None:
    asked = Rows()
    for _ in range(2_000):
        rows(request(), into=asked)
    alike = [some_jobs(50, seed) for seed in range(10)]
    unlike = [some_jobs(50, seed, said=30 + 5 * seed) for seed in range(10)]
    one, other = (told(asked, Histories({("triage", "large"): history(*some)})) for some in (alike, unlike))
    assert width(one) < 0.15
    assert width(other) > 3 * width(one)


def test_chance_evens_out_over_many_rows() -> None:
    known = Histories({("triage", "large"): history(*(some_jobs(100, seed) for seed in range(20)))})
    few, many = rows(*[request()] * 3), rows(*[request()] * 3_000)
    assert width(told(many, known)) < width(told(few, known)) / 2


# What is expected


def test_what_was_always_the_same_is_expected_to_cost_just_that() -> None:
    known = Histories({("triage", "large"): history(*[[job(100, 50)] * 50] * 20)})
    found = told(rows(*[request()] * 10), known).whole
    true = 10 * price(Usage(100, 0, 50), CARDS["large"])
    assert found.cost_usd.expected == true
    assert (found.input_tokens.expected, found.output_tokens.expected) == pytest.approx((1_000, 500))


def test_an_interval_without_width_shows_no_noise_of_floating_point() -> None:
    noisy = Bounds(15.0, math.nextafter(15.0, 0.0), math.nextafter(15.0, 16.0))
    assert _usd(noisy, Decimal(100)) == Usd(*[Decimal("15.000000")] * 3)
    wide = Bounds(15.0, 14.9999985, 15.0000015)
    assert _usd(wide, Decimal(100)) == Usd(Decimal("15.000000"), Decimal("14.999998"), Decimal("15.000002"))


def test_longer_prompts_are_expected_to_have_longer_answers_if_they_had_before() -> None:
    batches = [[job(read, read / 2) for read in range(50, 450, 10)] for _ in range(3)]
    found = told(rows(*[request(read=1_000)] * 4), Histories({("triage", "large"): history(*batches)})).whole
    assert found.output_tokens.expected == pytest.approx(4 * 500, rel=0.02)
    flat = [[job(read, 60) for read in range(50, 450, 10)] for _ in range(3)]
    same = told(rows(*[request(read=1_000)] * 4), Histories({("triage", "large"): history(*flat)})).whole
    assert same.output_tokens.expected == pytest.approx(4 * 60, rel=0.02)
    assert same.input_tokens.expected == pytest.approx(4_000)


def test_lengths_that_hardly_varied_tell_little_of_prompts_ten_times_as_long() -> None:
    draw = Random(3)
    seen = [job(draw.choice([100, 101]), draw.randint(20, 180)) for _ in range(30)]
    known = Histories({("triage", "large"): history(seen)})
    near, far = (told(rows(*[request(read=read)] * 50), known).whole.output_tokens for read in (100, 1_000))
    assert 0 < far.expected < 10 * near.expected
    assert (far.high - far.low) / far.expected > 2 * (near.high - near.low) / near.expected


def test_a_job_that_fails_is_free_and_so_many_are_expected_to_fail() -> None:
    sound = history(*(some_jobs(50, seed) for seed in range(4)))
    failing = history(*([*some_jobs(50, seed), *[job(ok=False)] * 50] for seed in range(4)))
    asked = rows(*[request()] * 100)
    one, other = (told(asked, Histories({("triage", "large"): some})).whole for some in (sound, failing))
    assert (one.failed, other.failed) == pytest.approx((0, 50))
    assert float(other.cost_usd.expected) == pytest.approx(float(one.cost_usd.expected) / 2, rel=0.05)


def test_several_answers_are_written_for_one_prompt_and_several_samples_read_it_again() -> None:
    known = Histories({("triage", "large"): history(*(some_jobs(50, seed) for seed in range(4)))})
    one, twice, sampled, judged = (
        told(rows(*[asked] * 20), known).whole
        for asked in (request(), replace(request(), choices=2), request(samples=2), request(samples=2, vote="judge"))
    )
    assert twice.output_tokens.expected == pytest.approx(2 * one.output_tokens.expected)
    assert twice.input_tokens == one.input_tokens
    assert sampled.output_tokens.expected == pytest.approx(2 * one.output_tokens.expected)
    assert sampled.input_tokens.expected == pytest.approx(2 * one.input_tokens.expected)
    assert judged.input_tokens.expected == pytest.approx(3 * one.input_tokens.expected)


def test_a_limit_below_what_answers_had_cuts_what_is_expected_and_one_above_does_not() -> None:
    known = Histories({("triage", "large"): history(*(some_jobs(50, seed, said=400) for seed in range(4)))})
    free, wide, narrow = (told(rows(*[request(limit=limit)] * 20), known).whole for limit in (None, 2_000, 100))
    assert free.output_tokens == wide.output_tokens
    assert narrow.output_tokens.expected <= 20 * 100 < 20 * 300 < wide.output_tokens.expected


def test_cached_tokens_thoughts_pictures_and_sound_are_priced_as_they_will_be() -> None:
    cached = [(100.0, (1.0, 100.0, 80.0, 50.0, 0.0, 1.0))] * 20
    found = told(rows(*[request()] * 3), Histories({("triage", "large"): history(*[cached] * 4)})).whole
    assert found.cost_usd.expected == 3 * price(Usage(100, 80, 50), CARDS["large"])
    thinks = Histories({("triage", "deep"): history(*[[job(100, 50, 300)] * 20] * 4)})
    thought = told(rows(*[request()] * 3, model="deep"), thinks).whole
    assert thought.cost_usd.expected == 3 * price(Usage(100, 0, 350, 300), CARDS["deep"])
    assert thought.output_tokens.expected == pytest.approx(3 * 350)
    seen = replace(request(), images=2, audio_seconds=Decimal("1.5"))
    eyes = Histories({("triage", "eyes"): history(*[[job(100, 50)] * 20] * 4)})
    shown = told(rows(*[seen] * 3, model="eyes"), eyes).whole
    assert shown.cost_usd.expected == 3 * price(Usage(100, 0, 50, 0, 2, Decimal("1.5")), CARDS["eyes"])


# What it stands on


@pytest.mark.parametrize(
    "seen, basis, groups",
    [
        ({("triage", "large"): 5, ("triage", "small"): 50, ("reply", "large"): 50}, Basis.TASK_ON_MODEL, 1),
        ({("triage", "large"): 4, ("triage", "small"): 50, ("reply", "large"): 50}, Basis.TASK_ELSEWHERE, 1),
        ({("triage", "small"): 50, ("triage", "deep"): 50, ("reply", "large"): 50}, Basis.TASK_ELSEWHERE, 2),
        ({("reply", "large"): 50, (None, "large"): 50, ("reply", "small"): 50}, Basis.MODEL, 2),
        ({("triage", "large"): 4}, Basis.NO_HISTORY, 0),
        ({("reply", "small"): 50}, Basis.NO_HISTORY, 0),
    ],
)
def test_the_closest_history_answers_and_the_forecast_says_which(
    seen: dict[tuple[str | None, str], int], basis: Basis, groups: int
) -> None:
    found = told(rows(request()), Histories({key: history(some_jobs(count)) for key, count in seen.items()}))
    (ground,) = found.grounds
    assert (ground.tier, ground.model, ground.task, ground.jobs) == (Tier.LLM, "large", "triage", 1)
    assert (ground.basis, ground.seen_groups) == (basis, groups)
    assert (ground.seen_jobs > 0) == (basis is not Basis.NO_HISTORY)


def test_failures_alone_tell_nothing_of_what_a_task_takes() -> None:
    known = Histories({("triage", "large"): history([job(ok=False)] * 100)})
    assert told(rows(request()), known).grounds[0].basis is Basis.NO_HISTORY


def test_further_bases_are_less_sure() -> None:
    asked = rows(*[request()] * 200)
    near = Histories({("triage", "large"): history(some_jobs(100))})
    elsewhere = Histories({("triage", "small"): history(some_jobs(100))})
    others = Histories({("reply", "large"): history(some_jobs(100))})
    widths = [width(told(asked, known)) for known in (near, elsewhere, others, NOTHING)]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] / 2 < widths[2] / 4


def test_what_a_reasoning_model_thinks_is_not_taken_from_one_that_does_not_think() -> None:
    spoken = Histories({("triage", "large"): history(*(some_jobs(50, seed) for seed in range(3)))})
    unsure = told(rows(*[request()] * 10, model="deep"), spoken).whole.output_tokens
    assert unsure.high > 10 * 1_000  # of the 2,048 that it may think
    learnt = Histories(
        {
            ("triage", "large"): history(*(some_jobs(50, seed) for seed in range(3))),
            **{(f"task-{n}", "deep"): history([job(100, 900, 200)] * 50) for n in range(5)},
        }
    )
    found = told(rows(*[request()] * 10, model="deep"), learnt).whole.output_tokens
    assert found.expected == pytest.approx(10 * (50 + 200), rel=0.1)
    plain = told(rows(*[request()] * 10, model="small"), spoken).whole.output_tokens
    assert plain.expected == pytest.approx(10 * 50, rel=0.1)


def test_without_history_an_answer_lies_between_a_token_and_its_limit() -> None:
    found = told(rows(*[request(limit=1_000)] * 10)).whole
    assert found.output_tokens == pytest.approx(Bounds(10 * 200, 10 * 1_000**0.1, 10 * 900))
    assert found.input_tokens == pytest.approx(Bounds(1_000, 750, 1_500))
    short = told(rows(request(limit=1))).whole.output_tokens
    assert short == (1, 1, 1)
    pooling = replace(request(), endpoint=EMBEDDINGS, max_output_tokens=0)
    assert told(rows(pooling)).whole.output_tokens == (0, 0, 0)


def test_thoughts_that_the_fleet_does_not_bound_share_the_limit_of_the_answer() -> None:
    quiet: Model = MODELS["deep"].model_copy(update={"reasoning": None})
    asked = Rows()
    asked.add(request(limit=500), quiet, estimate(request(limit=500), quiet, DAY))
    assert told(asked).whole.output_tokens.high <= 500
    known = Histories({("triage", "large"): history(some_jobs(50))})
    assert told(asked, known).whole.output_tokens.high > 300


def test_a_batch_without_rows_comes_to_nothing() -> None:
    found = told(Rows(), Histories({("triage", "large"): history(some_jobs(50))}))
    assert (found.tiers, found.grounds) == ({}, ())
    assert (found.whole.jobs, found.whole.failed, found.whole.at_most_usd) == (0, 0, 0)
    assert {found.whole.cost_usd.low, found.whole.cost_usd.high} == {0}
    assert found.whole.output_tokens == found.whole.seconds == (0, 0, 0)


def test_tiers_add_up_and_their_chances_even_out() -> None:
    known = Histories({("triage", name): history(*(some_jobs(50, seed) for seed in range(4))) for name in MODELS})
    asked = rows(*[request()] * 20)
    rows(*[request()] * 20, model="small", into=asked)
    found = told(asked, known)
    large, small, whole = found.tiers[Tier.LLM], found.tiers[Tier.SLM], found.whole
    assert list(found.tiers) == [Tier.SLM, Tier.LLM]
    assert large.at_most_usd + small.at_most_usd == whole.at_most_usd
    assert whole.output_tokens.expected == pytest.approx(large.output_tokens.expected + small.output_tokens.expected)
    assert small.output_tokens.high + large.output_tokens.high > whole.output_tokens.high
    assert whole.seconds.expected >= max(large.seconds.expected, small.seconds.expected)


def test_a_task_for_every_row_costs_no_memory_and_is_counted_by_model() -> None:
    asked = Rows()
    for number in range(MOST_GROUPS + 500):
        rows(request(f"task-{number}"), into=asked)
        rows(request(f"task-{number}", samples=3), model="small", into=asked)
    groups = list(asked)
    assert len(groups) <= MOST_GROUPS + len(MODELS)
    assert sum(group.jobs for group in groups) == 2 * (MOST_GROUPS + 500)
    assert sum(group.choices for group in groups) == 4 * (MOST_GROUPS + 500)
    known = Histories({(None, "large"): history(some_jobs(50))})
    mixed = [ground for ground in told(asked, known).grounds if ground.task is None]
    assert {(ground.model, ground.basis) for ground in mixed} == {
        ("large", Basis.MODEL),
        ("small", Basis.NO_HISTORY),
    }
