"""Readers that crash, hang, take too much or say nonsense: each costs its one document."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.reading import Limits
from orchestrator.errors import Broken
from tests.documents.apart.asked import do, refused


@pytest.mark.parametrize("deed", ["abort", "segfault", "kill-self"])
def test_f24_a_crash_costs_its_document_and_the_next_is_read(pool, deed):
    before = do(pool, "pid")
    problem = refused(pool, deed)
    assert problem.code == "unreadable_file"
    assert "ended over it" in problem.message
    assert do(pool, "pid") != before


def test_f24_a_document_is_tried_once_more_on_a_new_process(pool):
    assert do(pool, "say x") == "x"
    assert do(pool, "abort-if-used") == "well"


def test_f24_a_process_that_is_killed_while_it_waits_is_replaced(pool):
    pid = int(do(pool, "pid"))
    os.kill(pid, signal.SIGKILL)
    assert int(do(pool, "pid")) != pid


def test_f24_a_process_that_is_killed_while_it_reads_is_replaced_and_the_document_read(pool):
    do(pool, "say started")
    (pid,) = pool.pids
    killer = threading.Timer(0.4, os.kill, [pid, signal.SIGKILL])
    killer.start()
    assert do(pool, "sleep 1") == "None"
    assert pool.pids != [pid]


@pytest.mark.parametrize("deed", ["sleep 60", "spin", "ignore"])
def test_f27_a_document_that_hangs_is_an_error_and_the_next_is_read(pool, deed):
    do(pool, "say started")
    begun = time.monotonic()
    assert "not read within 1 s" in refused(pool, deed, Limits(timeout_s=1)).message
    assert time.monotonic() - begun < 5
    assert do(pool, "say x") == "x"


def test_f27_a_process_that_is_stopped_is_an_error_and_the_next_document_is_read(pool):
    os.kill(int(do(pool, "pid")), signal.SIGSTOP)
    assert "not read within 1 s" in refused(pool, "say x", Limits(timeout_s=1)).message
    assert do(pool, "say x") == "x"


def test_f24_a_crash_that_comes_late_leaves_no_more_time_than_there_was(pool):
    do(pool, "say started")
    begun = time.monotonic()
    refused(pool, "answer 00", Limits(timeout_s=2))
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("deed", ["memory", "native-memory"])
def test_a12_a_document_that_takes_too_much_memory_is_one_error(pool, deed):
    problem = refused(pool, deed)
    assert problem.code == "unreadable_file"
    assert "1,024 MiB" in problem.message
    assert do(pool, "say x") == "x"


def test_a_process_that_has_grown_is_replaced(pool):
    assert [do(pool, "leak 400") for _ in range(5)] == ["1", "2", "1", "2", "1"]


def test_a_document_for_which_a_grown_process_has_no_memory_left_is_read_by_a_new_one(pool):
    assert do(pool, "leak 300") == "1"
    assert do(pool, "leak 800") == "1"


@pytest.mark.parametrize(
    "deed",
    ["huge", "odd", "answer ff", "answer 00", "answer 02000000000000000005" + b"nojsn".hex(), "answer 0300000000000000000401020304",
     "answer 04000000000000000002" + b"{}".hex(), "answer 0400000000000000001e" + b'{"error":"none","message":"x"}'.hex()],
    ids=["huge", "odd", "one byte", "nothing", "no JSON", "pictures", "no code", "unknown code"],
)  # fmt: skip
def test_a13_an_answer_that_breaks_the_form_is_an_error(pool, deed):
    assert refused(pool, deed, Limits(timeout_s=1.5)).code == "unreadable_file"
    assert do(pool, "say x") == "x"


@pytest.mark.parametrize("error", ["exit", "key", "deep"])
def test_a13_whatever_a_library_raises_is_one_clear_error_on_the_same_process(pool, error):
    pid = do(pool, "pid")
    problem = refused(pool, f"raise {error}")
    assert problem.code == "unreadable_file"
    assert "secret" not in problem.message
    assert do(pool, "pid") == pid


def test_a_library_that_is_not_there_says_what_to_install(pool):
    problem = refused(pool, "raise import")
    assert problem.code == "missing_extra"
    assert "rightsize[documents]" in problem.message


def test_f24_two_threads_at_once_with_one_that_crashes_again_and_again(two):
    def crash(_: int) -> str:
        return refused(two, "abort").code

    with ThreadPoolExecutor(2) as threads:
        crashes = threads.map(crash, range(6))
        told = [do(two, f"say {number}") for number in range(300)]
        assert list(crashes) == ["unreadable_file"] * 6
    assert told == [str(number) for number in range(300)]


def test_readers_that_cannot_be_started_are_a_fault_of_ours_and_no_documents():
    with Pool(children=1, readers_module="no.such.module") as pool, pytest.raises(Broken, match="No module named 'no'"):
        do(pool, "say x")
    assert pool.pids == []
