"""Whatever is killed with -9 comes back with its data."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.local import instance
from orchestrator.local.instance import Instance
from tests.local.conftest import all_pids, broker, connect, fill, gone, kept, pid_of, stand_in, until

pytestmark = pytest.mark.usefixtures("warm")

Attach = Callable[..., Instance]
User = Callable[[], "subprocess.Popen[str]"]


def test_f17_postgres_killed_comes_back_with_what_was_committed(attach: Attach) -> None:
    attached = attach()
    fill(attached, 100)
    with connect(attached):
        os.kill(pid_of(attached, "postgres"), signal.SIGKILL)
    until(lambda: kept(attached) == (100, 100))
    part = until(lambda: (found := attached.state.part("postgres")) and found.state == "ready" and found)
    assert part.restarts == 1
    assert attached.alive()


def test_f10_valkey_killed_comes_back_with_its_queue(attach: Attach) -> None:
    attached = attach()
    fill(attached, 150)
    for _ in range(3):
        os.kill(pid := pid_of(attached, "valkey"), signal.SIGKILL)
        until(lambda pid=pid: pid_of(attached, "valkey") != pid)
        assert kept(attached) == (150, 150)


def test_f30_supervisor_killed_ends_its_servers_and_a_user_starts_a_new_one(attach: Attach) -> None:
    attached = attach([stand_in("worker-llm", "works")])
    fill(attached, 1)
    pids, url = all_pids(attached), attached.database_url
    stop = threading.Event()
    keeper = threading.Thread(target=attached.keep, args=(stop,))
    keeper.start()
    os.kill(attached.state.supervisor, signal.SIGKILL)
    until(lambda: gone(pids))
    until(lambda: attached.alive() and kept(attached) == (1, 1))
    stop.set()
    keeper.join()
    assert attached.database_url == url
    assert pid_of(attached, "worker-llm")


def test_f30_the_user_killed_first_and_the_supervisor_after_it_leaves_nothing(user: User, data_dir: Path) -> None:
    one = user()
    assert one.stdout
    assert one.stdout.readline()
    attached = instance.find(data_dir)
    assert attached
    pids = all_pids(attached)
    os.kill(one.pid, signal.SIGKILL)
    os.kill(attached.state.supervisor, signal.SIGKILL)
    until(lambda: gone(pids))
    attached.close()
    assert instance.find(data_dir) is None


def test_f30_everything_killed_at_once_starts_again_with_its_data(user: User, attach: Attach, data_dir: Path) -> None:
    one = user()
    assert one.stdout
    assert one.stdout.readline()
    attached = instance.find(data_dir)
    assert attached
    fill(attached, 1000)
    with connect(attached):
        pids = all_pids(attached)
        for pid in (one.pid, *pids):  # the supervisor before its children, so that nothing is stopped in order
            os.kill(pid, signal.SIGKILL)
    attached.close()
    until(lambda: gone(pids))
    again = attach()
    assert again.started
    assert kept(again) == (1000, 1000)


def test_a_pid_file_of_a_process_that_lives_does_not_stop_a_start(attach: Attach, data_dir: Path) -> None:
    first = attach()
    pids = all_pids(first)
    pid_file = data_dir / "servers" / "postgres" / "postmaster.pid"
    text = pid_file.read_text()
    first.close()
    until(lambda: gone(pids))
    pid_file.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]) + "\n")  # the pid is another's now
    with connect(attach()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_socket_that_was_cleaned_away_comes_back(attach: Attach) -> None:
    attached = attach()
    path = Path(broker(attached).connection_pool.connection_kwargs["path"])
    until(path.exists)
    path.unlink()
    until(path.exists)
    until(lambda: pid_of(attached, "valkey") and broker(attached).ping())
