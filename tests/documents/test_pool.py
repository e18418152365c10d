"""The pool of processes that read documents: what one document does costs that document, and nothing else."""

from __future__ import annotations

import gzip
import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.reading import Limits, Unreadable
from orchestrator.errors import Broken

FAULTY = "tests.documents.faulty"
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def tests_are_found(monkeypatch) -> None:
    """By the processes too, wherever the package itself is installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(children=1, readers_module=FAULTY) as made:
        yield made


@pytest.fixture
def two() -> Iterator[Pool]:
    with Pool(children=2, readers_module=FAULTY) as made:
        yield made


def do(pool: Pool, deed: str, limits: Limits | None = None) -> str:
    return pool.read(io.BytesIO(deed.encode()), "a.txt", limits).text


def refused(pool: Pool, deed: str, limits: Limits | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        do(pool, deed, limits)
    assert caught.value.message.endswith(".")
    return caught.value


# --- Reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, kind", [("a.txt", "text"), ("a.md", "markdown"), ("a.pdf", "text")])
def test_a_document_is_read_by_the_reader_of_its_kind(tmp_path, name, kind):
    path = tmp_path / name
    path.write_text("Plain text.")
    with Pool(children=1) as pool, path.open("rb") as stream:
        reading = pool.read(stream, path.name)
        assert (reading.kind, reading.text) == (kind, "Plain text.")


def test_one_process_reads_many_documents_and_none_is_left(pool):
    pids = {int(do(pool, "pid")) for _ in range(20)}
    assert pids == set(pool.pids)
    (pid,) = pids
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_process_starts_before_there_is_a_document():
    with Pool(children=4) as pool:
        assert pool.pids == []


def test_as_many_threads_as_there_are_processes_read_at_once(two):
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: do(two, "sleep 0.1"), range(4)))  # both have started
        begun = time.monotonic()
        list(threads.map(lambda _: do(two, "sleep 1"), range(2)))
        assert time.monotonic() - begun < 1.8
    assert len(two.pids) == 2


def test_more_threads_than_processes_wait_for_their_turn(two):
    with ThreadPoolExecutor(12) as threads:
        told = list(threads.map(lambda number: do(two, f"say {number}"), range(200)))
    assert told == [str(number) for number in range(200)]
    assert len(two.pids) <= 2


def test_a_process_outlives_the_thread_that_it_was_started_for(pool):
    pids: list[str] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: pids.append(do(pool, "pid")))
        thread.start()
        thread.join()
        time.sleep(0.05)
    assert len(set(pids)) == 1


@pytest.mark.parametrize("kind", ["file", "moved", "memory", "gzip", "pipe", "unbuffered"])
def test_any_stream_will_do_from_wherever_it_stands(pool, tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(b"say hello")
    stream: BinaryIO
    if kind == "memory":
        stream = io.BytesIO(b"say hello")
    elif kind == "gzip":  # which has the descriptor of the packed file
        path.write_bytes(gzip.compress(b"say hello"))
        stream = gzip.GzipFile(path)
    elif kind == "pipe":
        reading, writing = os.pipe()
        os.write(writing, b"say hello")
        os.close(writing)
        stream = os.fdopen(reading, "rb")
    else:
        stream = path.open("rb", buffering=0 if kind == "unbuffered" else -1)
        if kind == "moved":
            stream.seek(4)
    with stream:
        assert pool.read(stream, "a.txt").text == "hello"


def test_two_threads_read_the_same_open_file(two, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"say " + b"x" * 3 * MIB)
    with path.open("rb") as stream, ThreadPoolExecutor(2) as threads:
        sizes = threads.map(lambda _: len(two.read(stream, "a.txt").text), range(20))
        assert set(sizes) == {3 * MIB}


def test_limits_and_their_password_come_along(pool):
    assert do(pool, "limits", Limits(max_pages=7, password="s3cret \N{SNOWMAN}")) == "('s3cret \N{SNOWMAN}', 7)"


@pytest.mark.parametrize("name", ["a\0.txt", "../../a", "x" * 100_000, "\udcff\ud800", "a\n.txt", ""])
def test_a11_any_name_is_only_a_hint(pool, name):
    assert pool.read(io.BytesIO(b"say x"), name).text == "x"


def test_what_is_no_document_is_refused_by_its_content(pool):
    assert refused(pool, "\0\1\2").code == "unsupported_file"
    with pytest.raises(Unreadable, match="archive"):
        pool.read(io.BytesIO(gzip.compress(b"x")), "a.txt")


def test_a_kind_without_a_reader_is_unsupported(pool):
    with pytest.raises(Unreadable, match="kind png") as caught:
        pool.read(io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(20)), "a.txt")
    assert caught.value.code == "unsupported_file"


@pytest.mark.parametrize("data", [b"x" * 101, b"x" * 10_000])
def test_a_file_over_the_limit_is_refused(pool, tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    for stream in (io.BytesIO(data), path.open("rb")):
        with stream, pytest.raises(Unreadable, match="at most 100 bytes") as caught:
            pool.read(stream, "a.txt", Limits(max_bytes=100))
        assert caught.value.code == "file_too_large"


def test_an_empty_file_is_refused(pool):
    assert refused(pool, "").code == "empty_file"


def test_a_text_over_the_limit_is_refused_and_never_cut(pool):
    assert refused(pool, "long 1001", Limits(max_chars=1000)).code == "text_too_long"
    assert len(do(pool, "long 1000", Limits(max_chars=1000))) == 1000


def test_what_is_no_character_does_not_come_out(pool):
    assert do(pool, "surrogate") == "a?bc"


def test_a_refusal_keeps_its_code_and_words(pool):
    problem = refused(pool, "refuse It is locked. Unlock it.")
    assert (problem.code, problem.message) == ("password_required", "It is locked. Unlock it.")


# --- What lies in a document ------------------------------------------------------------------------------------------


def test_a12_parts_are_read_to_a_depth(pool):
    assert do(pool, "nest 3") == "bottom"
    assert "nested over 3 deep" in refused(pool, "nest 4").message
    assert refused(pool, "nest 500", Limits(max_depth=100_000)).code == "unreadable_file"


def test_a12_parts_are_counted_and_so_are_their_bytes(pool):
    assert do(pool, "parts 10", Limits(max_parts=10)) == "parts"
    assert refused(pool, "parts 11", Limits(max_parts=10)).code == "file_too_large"
    assert refused(pool, "parts 11", Limits(max_unpacked_bytes=50)).code == "file_too_large"


# --- Pictures of pages ------------------------------------------------------------------------------------------------


def test_pictures_of_pages_come_as_bytes(pool):
    assert pool.render(io.BytesIO(b"%PDF-1.4"), [1, 3]) == [b"\xff\xd8\xff\0", b"\xff\xd8\xff\0\0\0"]
    assert pool.render(io.BytesIO(b"%PDF-1.4"), []) == []


def test_a14_what_is_no_picture_or_not_as_many_is_an_error(pool):
    for pages in ([900], [999]):
        with pytest.raises(Unreadable):
            pool.render(io.BytesIO(b"%PDF-1.4"), pages)


def test_only_pages_of_a_pdf_are_drawn(pool):
    with pytest.raises(Unreadable, match="PDF") as caught:
        pool.render(io.BytesIO(b"text"), [1])
    assert caught.value.code == "unsupported_file"


def test_f27_a_page_that_takes_too_long_is_an_error(pool):
    with pytest.raises(Unreadable, match=r"not read within 0\.5 s"):
        pool.render(io.BytesIO(b"%PDF-1.4 hang"), [1], Limits(timeout_s=0.5))


# --- Faults -----------------------------------------------------------------------------------------------------------


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


# --- Walls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deed", ["socket", "connect 5432", "lookup", "run", "system", "fork", "list /etc", "open /etc/passwd"]
)
def test_a13_a_reader_reaches_no_network_no_program_and_no_file(pool, deed):
    assert do(pool, deed).startswith("PermissionError")


def test_a13_a_reader_writes_and_removes_nothing(pool, tmp_path):
    path = tmp_path / "kept"
    path.write_text("kept")
    for deed in (f"write {path}", f"write {path}2", f"remove {path}", f"open {path}"):
        assert do(pool, deed).startswith("PermissionError")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("kept", "kept")]


def test_a13_a_reader_sees_no_secrets_and_no_files_but_its_own(pool, monkeypatch):
    monkeypatch.setenv("RIGHTSIZE_DATABASE_URL", "postgresql://canary")
    assert "RIGHTSIZE" not in do(pool, "environment")
    (pid,) = pool.pids
    assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert len(do(pool, "descriptors").split(",")) <= 4


def test_a12_the_process_is_bounded_by_the_kernel(pool):
    do(pool, "say x")
    (pid,) = pool.pids
    limits = Path(f"/proc/{pid}/limits").read_text()
    for name, most in (("Max data size", 1024 * MIB), ("Max address space", 2048 * MIB), ("Max file size", 0)):
        (limit,) = (line.removeprefix(name).split() for line in limits.splitlines() if line.startswith(name))
        assert limit[:2] == [str(most)] * 2


def test_memory_can_be_given_to_readers_that_need_more():
    with Pool(children=1, memory_bytes=2048 * MIB, readers_module=FAULTY) as pool:
        assert do(pool, "leak 1200") == "1"


def test_threads_of_libraries_start(pool):
    assert do(pool, "threads 8") == "threads"


def test_which_walls_hold_can_be_asked(pool):
    assert pool.guards().python
    assert pool.guards().memory


# --- The end ----------------------------------------------------------------------------------------------------------


def test_closing_ends_what_is_being_read_at_once(two):
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(do, two, "sleep 30") for _ in range(2)]
        while len(two.pids) < 2:
            time.sleep(0.02)
        time.sleep(0.3)
        pids = two.pids
        begun = time.monotonic()
        two.close()
        for one in waiting:
            with pytest.raises(Broken, match="closed"):
                one.result(5)
        assert time.monotonic() - begun < 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_closed_pool_reads_nothing_and_closes_again(pool):
    pool.close()
    pool.close()
    with pytest.raises(Broken, match="closed"):
        do(pool, "say x")


@pytest.mark.parametrize("deed", ["say waiting", "sleep 60", "spin", "ignore"])
def test_processes_end_when_their_parent_is_killed(deed):
    script = (
        "import io, sys, threading, time\n"
        "from orchestrator.documents.apart.pool import Pool\n"
        f"with Pool(children=1, readers_module={FAULTY!r}) as pool:\n"
        "    pool.read(io.BytesIO(b'say x'), 'a.txt')\n"
        f"    threading.Thread(target=pool.read, args=(io.BytesIO({deed.encode()!r}), 'a.txt'), daemon=True).start()\n"
        "    time.sleep(0.2)\n"
        "    print(*pool.pids, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        ended = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([ended], [], [], 5)[0], "a process outlived its parent"
        finally:
            os.close(ended)
