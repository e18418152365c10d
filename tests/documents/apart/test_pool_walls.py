"""What a process that reads documents cannot do, see or take."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.documents.apart.pool import Pool
from tests.documents.apart.asked import FAULTY, MIB, do


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
