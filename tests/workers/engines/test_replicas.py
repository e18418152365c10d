"""Which server gets a request: pure, with the clock in the tests' hands."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from workers.engines._openai.replica_report import Listing, Report, listing_in, report_in
from workers.engines._openai.replicas import BOUND, Pace, Replica, Replicas, prefix_of

PACE = Pace(faults=3, first_pause_s=5.0, most_pause_s=60.0, stale_s=5.0)
PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 77.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:num_preemptions_total{engine="0",model_name="m"} 1e+01
"""


def fleet(count: int) -> Replicas:
    return Replicas([Replica(f"http://host-{n}/v1", f"models.m.replicas[{n}]", PACE) for n in range(count)])


def chosen(replicas: Replicas, prefix: int, now: float = 0.0, **how: Any) -> Replica:
    found = replicas.choose(prefix, now, **how)
    assert found is not None
    return found


def said(text: str, *more: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": text}, *({"role": "user", "content": one} for one in more)]}


def test_the_same_beginning_finds_the_same_server_and_other_beginnings_are_spread() -> None:
    replicas = fleet(4)
    homes = {n: chosen(replicas, prefix_of(said("rules", f"question {n}"))) for n in range(400)}
    assert all(chosen(replicas, prefix_of(said("rules", f"question {n}", "and then"))) is homes[n] for n in homes)
    assert min(Counter(homes.values()).values()) > 50


def test_a_lost_server_moves_only_its_own_beginnings() -> None:
    replicas = fleet(4)
    homes = {n: chosen(replicas, prefix_of(said(str(n)))) for n in range(200)}
    gone = replicas.all[2]
    for _ in range(PACE.faults):
        gone.unreached(0.0)
    assert all((chosen(replicas, prefix_of(said(str(n)))) is home) is (home is not gone) for n, home in homes.items())


def test_affinity_bends_when_its_server_has_more_than_its_share() -> None:
    replicas = fleet(3)
    with ExitStack() as stack:
        for count in range(60):
            one = chosen(replicas, prefix_of(said("everybody says this")))
            assert one.outstanding < math.ceil(BOUND * (count + 1) / 3)
            stack.enter_context(one.busy())
        loads = sorted(one.outstanding for one in replicas.all)
    assert loads == [10, 25, 25]


def test_others_requests_count_by_what_the_server_reports_and_what_waits_counts_twice() -> None:
    one = fleet(1).all[0]
    one.is_vllm = True
    with one.busy(), one.busy():
        one.heard(Report(running=5, waiting=1, kv_use=0.5, preemptions=0), 0.0)
        assert one.work(0.0) == 5 + 1 + 1
        with one.busy():
            assert one.work(1.0) == 8
    assert one.work(PACE.stale_s + 1) == 0


def test_a_report_that_is_bad_old_or_missing_means_less_work_never_more() -> None:
    one = fleet(1).all[0]
    assert one.weight(0.0) == 1.0
    one.is_vllm = True
    one.heard(Report(1, 0, 0.5, 0), 0.0)
    assert one.weight(5.0) == 1.0
    assert one.weight(5.1) < 0.5
    one.heard(None, 6.0)
    assert one.weight(6.0) == 0.5
    one.heard(Report(1, 0, 0.95, 0), 7.0)
    assert one.weight(7.0) == 0.5


def test_a_silent_server_gets_a_small_part_of_the_work() -> None:
    replicas = fleet(2)
    for one in replicas.all:
        one.is_vllm = True
        one.heard(Report(0, 0, 0.1, 0), 0.0)
    replicas.all[0].heard(Report(0, 0, 0.1, 0), 10.0)
    with ExitStack() as stack:
        for n in range(40):
            stack.enter_context(chosen(replicas, prefix_of(said(str(n))), 10.0).busy())
        assert replicas.all[1].outstanding <= 5


def test_f26_a_circuit_opens_after_faults_in_a_row_and_waits_longer_each_time() -> None:
    one = fleet(1).all[0]
    assert not any([one.unreached(0.0), one.unreached(0.0)])
    one.answered()
    assert [one.unreached(0.0) for _ in range(4)] == [False, False, True, False]
    pauses, now = [], 0.0
    for _ in range(6):
        assert one.probe_at is not None
        pauses.append(one.probe_at - now)
        now = one.probe_at
        one.probed(now, ok=False)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_f26_one_fault_after_a_probe_opens_the_circuit_again_and_an_answer_forgives() -> None:
    one = fleet(1).all[0]
    for _ in range(3):
        one.unreached(0.0)
    one.probed(5.0, ok=True)
    assert not one.is_open
    assert one.unreached(6.0)
    assert one.probe_at == 16.0
    one.probed(16.0, ok=True)
    one.answered()
    assert [one.unreached(20.0) for _ in range(3)] == [False, False, True]
    assert one.probe_at == 25.0


def test_f26_with_all_circuits_open_there_is_no_server_until_the_next_probe() -> None:
    replicas = fleet(2)
    for at, one in enumerate(replicas.all):
        for _ in range(3):
            one.unreached(float(at))
    assert replicas.choose(1, 2.0) is None
    assert replicas.until_probe_s(2.0) == 3.0
    assert replicas.until_probe_s(20.0) == 0.0


def test_a_server_with_another_model_is_asked_only_where_no_other_is_left() -> None:
    replicas = fleet(2)
    replicas.all[0].misfit = True
    assert {chosen(replicas, prefix_of(said(str(n)))) for n in range(50)} == {replicas.all[1]}
    assert chosen(replicas, 1, without={replicas.all[1]}) is replicas.all[0]


def test_the_load_is_summed_over_live_servers_and_none_where_one_does_not_tell() -> None:
    replicas = fleet(3)
    first, second, third = replicas.all
    for one in replicas.all:
        one.is_vllm = True
    for _ in range(3):
        third.unreached(0.0)
    first.heard(Report(3, 1, 0.25, 7), 0.0)
    assert replicas.load(0.0) is None
    second.heard(Report(4, 2, 0.75, 1), 1.0)
    load = replicas.load(2.0)
    assert load is not None
    assert (load.running, load.waiting, load.kv_use, load.preemptions) == (7, 3, 0.75, 0)
    assert replicas.load(5.5) is None


def test_preemptions_count_from_the_first_report_on_and_through_a_restart_of_the_server() -> None:
    replicas = fleet(2)
    counted = []
    for one in replicas.all:
        one.is_vllm = True
        one.heard(Report(0, 0, 0.0, 5), 0.0)
    for count in (7, 9, 2, 3):
        replicas.all[0].heard(Report(0, 0, 0.0, count), 1.0)
        load = replicas.load(1.0)
        counted.append(load.preemptions if load else None)
    assert counted == [2, 4, 6, 7]


def test_a_server_that_never_answered_does_not_hide_the_load_of_the_others() -> None:
    replicas = fleet(2)
    replicas.all[0].is_vllm = True
    replicas.all[0].heard(Report(3, 0, 0.25, 0), 0.0)
    assert replicas.load(0.0) is not None
    replicas.all[1].is_vllm = False
    assert replicas.load(0.0) is None


def test_a_fleet_of_which_nothing_lives_has_no_load() -> None:
    replicas = fleet(1)
    replicas.all[0].heard(Report(0, 0, 0.0, 0), 0.0)
    for _ in range(3):
        replicas.all[0].unreached(0.0)
    assert replicas.load(0.0) is None


def test_metrics_of_several_engines_are_summed() -> None:
    assert report_in(PAGE) == Report(running=7, waiting=2, kv_use=0.5, preemptions=10)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>oops",
        b"\xff\x00" * 1000,
        PAGE.replace(b" 3.0", b" NaN"),
        PAGE.replace(b" 3.0", b" -1.0"),
        PAGE.replace(b" 3.0", b" +Inf"),
        PAGE.replace(b" 3.0", b" three"),
        PAGE.replace(b" 3.0", b" 1e300"),
        PAGE.replace(b" 0.25", b" 25"),
        PAGE.replace(b"kv_cache_usage_perc{", b"kv_cache_usage_perc_{"),
        b"llamacpp:requests_processing 1\n",
    ],
)
def test_f28_metrics_that_cannot_be_are_no_report(page: bytes) -> None:
    assert report_in(page) is None


@pytest.mark.parametrize("page", [b"", b"[]", b"{}", b'{"data": 3}', b"[" * 100_000, b"null"])
def test_f28_a_list_of_models_that_is_none_tells_nothing(page: bytes) -> None:
    assert listing_in(page) is None


def test_a_list_of_models_tells_whose_it_is_and_what_it_serves() -> None:
    listing = listing_in(b'{"data": [{"id": "org/big", "owned_by": "vllm"}, {"id": 7}, null]}')
    assert listing == Listing(("org/big",), by_vllm=True)
    assert (listing.serves("org/big"), listing.serves("big")) == (True, False)
    assert Listing(("tiny:latest",), by_vllm=False).serves("tiny")
    assert Listing((), by_vllm=False).serves("tiny") is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [None, 3]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}, {"text": 3}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"image_url": {}}, {"input_audio": {"data": 5}}]}]},
        {"prompt": ["\ud800"]},
        {"input": [[1, 2]]},
    ],
)
def test_any_body_has_a_place_on_the_ring(body: dict[str, Any]) -> None:
    assert 0 <= prefix_of(body) < 2**64
