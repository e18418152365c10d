"""One instance for a data directory, for as long as it has a user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import Conflict, InvalidConfig
from orchestrator.local import instance, processes, state
from orchestrator.local.instance import Instance
from tests.local.conftest import all_pids, api_and_key, broker, connect, fill, gone, kept, pid_of, stand_in, until

Attach = Callable[..., Instance]
User = Callable[[], "subprocess.Popen[str]"]


def part_of(attached: Instance) -> state.PartState:
    """How its one worker fares."""
    found = attached.state.part("worker-llm")
    assert found is not None
    return found


def test_a_first_start_gives_both_servers_on_sockets_only(attach: Attach) -> None:
    attached = attach()
    assert attached.started
    with connect(attached) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version_num')::int / 10000, current_setting('listen_addresses'),"
            " current_setting('synchronous_commit'), current_user, current_database()"
        ).fetchone()
    assert row == (18, "", "on", "rightsize", "rightsize")
    settings = broker(attached).config_get("port", "appendonly", "maxmemory-policy")
    assert settings == {"port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction"}


@pytest.mark.usefixtures("warm")
def test_celery_reaches_the_broker_by_the_url(attach: Attach) -> None:
    from kombu import Connection

    attached = attach()
    with Connection(attached.redis_url) as connection:
        connection.SimpleQueue("greetings").put("hello")
        assert connection.SimpleQueue("greetings").get(timeout=5).payload == "hello"


@pytest.mark.usefixtures("warm")
def test_a_second_start_finds_the_data_of_the_first(attach: Attach) -> None:
    first = attach()
    fill(first, 10)
    pids = all_pids(first)
    first.close()
    until(lambda: gone(pids))
    second = attach()
    assert second.started
    assert kept(second) == (10, 10)


@pytest.mark.usefixtures("warm")
def test_a_second_user_attaches_and_keeps_it_alive(attach: Attach) -> None:
    first, second = attach(), attach()
    assert (first.started, second.started) == (True, False)
    assert first.state.supervisor == second.state.supervisor
    first.close()
    with connect(second) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert second.alive()


@pytest.mark.usefixtures("warm")
def test_who_only_reads_starts_no_worker_and_waits_for_none(attach: Attach, tmp_path: Path) -> None:
    pipe = tmp_path / "loaded"
    os.mkfifo(pipe)
    parts = [*api_and_key(), stand_in("worker-llm", "loads", str(pipe))]
    reader = attach(parts, workers=False)
    assert reader.started
    assert part_of(reader).state == "waiting"
    assert not attach(parts, workers=False).started
    with ThreadPoolExecutor() as pool:
        runner = pool.submit(attach, parts)
        until(lambda: part_of(reader).state == "starting")
        beside = attach(parts, workers=False)
        assert beside.api_url == reader.api_url
        assert not runner.done(), "who runs jobs waits until the weights are loaded"
        pipe.write_bytes(b"loaded")
        assert part_of(runner.result(30)).state == "ready"
    reader.close()
    assert not runner.result().started, "one instance serves both"


def test_who_is_told_to_stop_does_not_wait_until_a_new_supervisor_has_loaded_all(
    attach: Attach, tmp_path: Path
) -> None:
    pipe = tmp_path / "loaded"
    os.mkfifo(pipe)
    attached = attach([stand_in("worker-llm", "works")])
    stop = threading.Event()
    keeper = threading.Thread(target=attached.keep, args=(stop,))
    attached._attaching._parts = [stand_in("worker-llm", "loads", str(pipe))]
    keeper.start()
    os.kill(attached.state.supervisor, signal.SIGKILL)
    until(lambda: attached.state.is_live() and part_of(attached).state == "starting")
    stop.set()
    keeper.join(2.0)
    assert not keeper.is_alive()


@pytest.mark.usefixtures("warm")
def test_everything_ends_with_the_last_user(attach: Attach, data_dir: Path) -> None:
    first, second = attach(), attach()
    pids = all_pids(first)
    assert len(pids) > 3
    first.close()
    second.close()
    until(lambda: gone(pids))
    published = state.read(data_dir)
    assert published is not None
    assert published.status == state.STOPPED


@pytest.mark.usefixtures("warm")
def test_everything_ends_when_the_last_user_is_killed(user: User, data_dir: Path) -> None:
    one = user()
    assert one.stdout
    assert one.stdout.readline()
    attached = instance.find(data_dir)
    assert attached is not None
    pids = all_pids(attached)
    attached.close()
    os.killpg(one.pid, signal.SIGKILL)
    until(lambda: gone(pids))


@pytest.mark.usefixtures("warm")
def test_users_that_come_at_once_start_one_supervisor(user: User) -> None:
    users = [user() for _ in range(4)]
    lines = [one.stdout.readline().split() for one in users if one.stdout]
    assert len({supervisor for supervisor, _ in lines}) == 1
    assert sorted(started for _, started in lines) == ["False", "False", "False", "True"]


@pytest.mark.usefixtures("warm")
def test_a_user_that_comes_while_it_stops_gets_a_new_one(attach: Attach) -> None:
    first = attach()
    former = first.state.supervisor
    first.close()
    second = attach()
    assert second.alive()
    with connect(second) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert second.started is (second.state.supervisor != former)


@pytest.mark.usefixtures("warm")
def test_find_gives_a_running_instance_and_nothing_else(attach: Attach, data_dir: Path) -> None:
    assert instance.find(data_dir) is None
    attached = attach()
    pids = all_pids(attached)
    with instance.find(data_dir) or pytest.fail("not found") as found:
        assert found.database_url == attached.database_url
        assert not found.started
    attached.close()
    until(lambda: gone(pids))
    assert instance.find(data_dir) is None


@pytest.mark.usefixtures("warm")
def test_a_removed_data_directory_ends_its_instance(attach: Attach, data_dir: Path) -> None:
    attached = attach()
    pids = all_pids(attached)
    (data_dir / "users.lock").unlink()
    until(lambda: gone(pids))


@pytest.mark.usefixtures("warm")
def test_the_key_and_the_sockets_are_private(attach: Attach, data_dir: Path) -> None:
    attached = attach()
    assert (data_dir / state.FILE).stat().st_mode & 0o777 == 0o600
    folder = Path(attached.database_url.partition("host=")[2].replace("%2F", "/"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder)) < 80


@pytest.mark.skipif(os.geteuid() != 0, reason="only root switches accounts")
@pytest.mark.usefixtures("warm")
def test_servers_do_not_run_as_root(attach: Attach) -> None:
    attached = attach()
    for name in ("postgres", "valkey"):
        assert Path(f"/proc/{pid_of(attached, name)}").stat().st_uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's home is out of the servers' reach")
def test_root_may_keep_data_where_the_servers_cannot_reach_and_erase_it(attach: Attach, data_dir: Path) -> None:
    data_dir.parent.chmod(0o700)
    attached = attach()
    assert (data_dir / "servers").is_symlink()
    fill(attached, 10)
    pids = all_pids(attached)
    attached.close()
    until(lambda: gone(pids))
    again = attach()
    assert kept(again) == (10, 10)
    elsewhere, pids = (data_dir / "servers").readlink(), all_pids(again)
    with pytest.raises(Conflict, match="in use"):
        instance.erase(data_dir)
    again.close()
    until(lambda: gone(pids))
    instance.erase(data_dir)
    assert not elsewhere.exists()
    assert not data_dir.exists()


def test_an_instance_whose_supervisor_has_not_yet_seen_its_last_user_go_is_not_erased(
    attach: Attach, data_dir: Path
) -> None:
    attached = attach()
    supervisor, pids = attached.state.supervisor, all_pids(attached)
    os.kill(supervisor, signal.SIGSTOP)
    attached.close()
    try:
        with pytest.raises(Conflict, match="stops just now"):
            instance.erase(data_dir)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    until(lambda: gone(pids))
    instance.erase(data_dir)
    assert not data_dir.exists()


def test_a_process_is_known_by_pid_and_start() -> None:
    ticks = processes.start_ticks(os.getpid())
    assert ticks is not None
    assert processes.is_same(os.getpid(), ticks)
    assert not processes.is_same(os.getpid(), ticks + 1)
    assert processes.start_ticks(0) is None


@pytest.mark.usefixtures("warm")
def test_a_start_that_names_no_fleet_takes_the_last_one_and_says_so(attach: Attach, data_dir: Path) -> None:
    config, told = data_dir.parent / "fleet.toml", data_dir.parent / "told.json"
    config.write_text("[settings]\nlease_s = 7\n")
    first = attach(config=config)
    pids = all_pids(first)
    first.close()
    until(lambda: gone(pids))
    said: list[str] = []
    again = attach([stand_in("part", "environment", str(told))], on_progress=said.append)
    assert again.config == config
    assert [line for line in said if f"starts with {config}, as the last time" in line]
    given = json.loads(told.read_text())
    assert (given["RIGHTSIZE_CONFIG"], given["RIGHTSIZE_LEASE_S"]) == (str(config), "7.0")
    pids = all_pids(again)
    again.close()
    until(lambda: gone(pids))
    config.unlink()
    with pytest.raises(InvalidConfig, match=r"last ran with .*fleet.toml, which is gone.*--config"):
        attach()
    other = data_dir.parent / "other.toml"
    other.write_text("")
    assert attach(config=other).config == other
