"""What the supervisor does with the processes beside the servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.local import attaching, probe, state
from orchestrator.local.attaching import START_WITHIN_S
from orchestrator.local.instance import Instance
from orchestrator.local.parts import LOADS_WITHIN_S, SCHEMA, Part, standard
from orchestrator.local.plan import plan
from orchestrator.local.running import BACKOFF, LIVED_WELL_S, Running
from orchestrator.settings import Settings
from tests.local.conftest import all_pids, api_and_key, gone, pid_of, stand_in, until

Attach = Callable[..., Instance]
KEY = "rs-stand-in"


def servers_given() -> dict[str, str]:
    """Servers that need not exist, as stand-ins do not use them: such an instance starts none of its own."""
    return {"database_url": "postgresql://u:secret-1@192.0.2.1/x", "redis_url": "redis://:secret-2@192.0.2.1:6379/0"}


def test_the_ordinary_parts_migrate_first_and_have_a_worker_for_each_tier() -> None:
    parts = standard(["slm", "llm"], stop_within_s=20.0)
    assert [part.name for part in parts] == [
        "migrate",
        "key",
        "orchestrator",
        "api",
        "intake",
        "worker-slm",
        "worker-llm",
    ]
    assert parts[0].stage < min(part.stage for part in parts[1:])
    assert all(part.stops[0] == (signal.SIGTERM, 25.0) for part in parts[2:])
    assert Part.from_dict(json.loads(json.dumps(parts[0].to_dict()))) == parts[0]


def test_only_a_worker_that_loads_weights_has_minutes_to_get_ready(tmp_path: Path) -> None:
    config = tmp_path / "rightsize.toml"
    small = '[models.small]\ntier = "slm"\nengine = "llamacpp"\npath = "x.gguf"\n[[models.small.rates]]\ninput = "1"\n'
    config.write_text(small + '[models.big]\ntier = "llm"\nengine = "simulated"\n[[models.big.rates]]\ninput = "1"\n')
    parts = {part.name: part for part in plan(Settings.load({"config": config}), None, None).parts}
    assert parts["worker-slm"].ready_within_s == LOADS_WITHIN_S < START_WITHIN_S
    assert parts["worker-llm"].ready_within_s == Part("x", ()).ready_within_s < LOADS_WITHIN_S


def test_a_start_that_takes_long_is_told_of_until_it_is_over(attach: Attach, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(attaching, "LONG_S", 0.05)
    pipe, told = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)

    def said(message: str) -> None:
        told.append(message)
        if sum("worker-llm loads its models" in one for one in told) == 3 and "loads" in message:
            pipe.write_bytes(b"loaded")

    attached = attach([stand_in("worker-llm", "loads", str(pipe))], on_progress=said, **servers_given())
    assert [part.state for part in attached.state.parts] == ["ready"]
    assert sum("worker-llm loads its models" in one for one in told) >= 3


def test_a_part_that_dies_while_it_loads_waits_longer_each_time_however_long_it_had_loaded(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ready = False
    part = stand_in("worker-llm", "loads", str(pipe), ready_within_s=LOADS_WITHIN_S)
    running = Running(part, tmp_path / "worker-llm.log", lambda _pid: ready)
    running.start(part.argv, os.environ)
    now = time.monotonic()

    def dies(at: float) -> float:
        """The seconds until it is started again."""
        running.restart()
        until(lambda: running.tick(at) or running.state == BACKOFF)
        return running.look_within_s(at)

    first = dies(now + 2 * LIVED_WELL_S)
    running.tick(now + 2 * LIVED_WELL_S + first)
    assert dies(now + 4 * LIVED_WELL_S) == pytest.approx(2 * first)
    running.tick(now + 5 * LIVED_WELL_S)
    ready = True
    running.tick(now + 5 * LIVED_WELL_S)
    assert dies(now + 7 * LIVED_WELL_S) == pytest.approx(first), "it had worked well"


@pytest.mark.usefixtures("warm")
def test_an_instance_gives_its_api_and_key_and_keeps_both(attach: Attach) -> None:
    first = attach(api_and_key())
    assert first.api_key == KEY
    assert probe.http_status(int(first.api_url.rpartition(":")[2]), "/readyz") == 200
    url, pids = first.api_url, all_pids(first)
    first.close()
    until(lambda: gone(pids))
    second = attach([stand_in("key", "fails", kind="key"), api_and_key()[1]])  # not asked for another key
    assert (second.api_url, second.api_key) == (url, KEY)


def test_a_revoked_key_is_replaced(attach: Attach, data_dir: Path) -> None:
    first = attach(api_and_key(), **servers_given())
    pids = all_pids(first)
    first.close()
    until(lambda: gone(pids))
    path = data_dir / state.FILE
    path.write_text(path.read_text().replace(KEY, "rs-revoked"))
    assert attach(api_and_key(), **servers_given()).api_key == KEY


def test_parts_get_addresses_by_environment_and_secrets_never_by_argument(attach: Attach, data_dir: Path) -> None:
    told = data_dir.parent / "told.json"
    attached = attach([stand_in("worker-llm", "environment", str(told))], lease_s=3.0, **servers_given())
    given = json.loads(told.read_text())
    assert given["RIGHTSIZE_DATABASE_URL"] == attached.database_url == servers_given()["database_url"]
    assert given["RIGHTSIZE_REDIS_URL"] == servers_given()["redis_url"]
    assert given["RIGHTSIZE_DATA_DIR"] == str(data_dir)
    assert (given["RIGHTSIZE_SUPERVISED"], given["RIGHTSIZE_LEASE_S"], given["umask"]) == ("1", "3.0", 0o077)
    for pid in all_pids(attached):
        assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert [part.name for part in attached.state.parts] == ["worker-llm"]
    assert "secret" not in repr(attached.state)


def test_a_dead_part_is_started_again_and_a_crash_loop_slows_down(attach: Attach) -> None:
    attached = attach([stand_in("worker-llm", "crashes"), stand_in("worker-slm", "works")], **servers_given())
    os.kill(former := pid_of(attached, "worker-slm"), signal.SIGKILL)
    until(lambda: pid_of(attached, "worker-slm") != former)
    until(lambda: (part := attached.state.part("worker-llm")) and part.restarts >= 4)
    log = Path(attached.data_dir, "logs", "supervisor.log").read_text()
    deaths = [line.split()[0] for line in log.splitlines() if "worker-llm: " in line and "-> backoff" in line]
    times = [float(stamp[17:23]) for stamp in deaths[:4]]
    gaps = [(later - earlier) % 60 for earlier, later in pairwise(times)]
    assert gaps[-1] >= 0.8  # 0.2, 0.4, 0.8 s and the time that it lives
    assert attached.alive()


def test_a_part_that_fails_at_the_start_is_named_with_its_log(attach: Attach, data_dir: Path) -> None:
    migrate = stand_in("migrate", "fails", kind="once", stage=SCHEMA)
    with pytest.raises(ServiceUnavailable, match=r"(?s)migrate ended with code 1 .*the schema is newer") as raised:
        attach([migrate, *api_and_key()], **servers_given())
    assert str(data_dir / "logs" / "migrate.log") in raised.value.message
    published = state.read(data_dir)
    assert published
    until(lambda: not published.is_live())


def test_a_part_whose_configuration_is_wrong_is_tried_once_and_its_reason_is_told(
    attach: Attach, data_dir: Path
) -> None:
    with pytest.raises(InvalidConfig, match=r"(?s)worker-llm cannot start with this configuration.*vLLM says: unrec"):
        attach([stand_in("worker-llm", "refuses"), *api_and_key()], **servers_given())
    log = (data_dir / "logs" / "worker-llm.log").read_text()
    assert log.count("vLLM says") == 1
    published = state.read(data_dir)
    assert published
    until(lambda: not published.is_live())


def test_a_part_that_worked_is_started_again_whatever_it_leaves_with(tmp_path: Path) -> None:
    pipe, ready = tmp_path / "pipe", False
    os.mkfifo(pipe)
    part = stand_in("worker-llm", "loads", str(pipe))
    running = Running(part, tmp_path / "worker-llm.log", lambda _pid: ready)
    running.start(part.argv, os.environ)
    ready = True
    running.tick(now := time.monotonic())
    assert running.is_ready
    running._argv = stand_in("worker-llm", "refuses").argv  # the GPU is full, of its former self
    running.restart()
    until(lambda: running.tick(now) or running.state == BACKOFF)
    running.tick(now + 1)
    until(lambda: running.tick(now + 1) or running.state == BACKOFF)
    assert running.restarts == 1


def test_a_port_in_use_is_an_error_that_names_the_flag(attach: Attach) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(InvalidConfig, match=r"in use .*--port"):
            attach(api_and_key(), port=taken.getsockname()[1], **servers_given())
        assert attach(api_and_key(), **servers_given()).api_url  # any free one


def test_another_port_than_that_of_the_running_instance_is_an_error(attach: Attach) -> None:
    attached = attach(api_and_key(), **servers_given())
    port = int(attached.api_url.rpartition(":")[2])
    assert attach(port=port, **servers_given()).api_url == attached.api_url
    with pytest.raises(InvalidConfig, match=rf"on port {port} .*--data-dir"):
        attach(port=port + 1, **servers_given())


def test_other_servers_than_those_of_the_running_instance_are_an_error(attach: Attach) -> None:
    attach([], **servers_given())
    assert attach([]).redis_url == servers_given()["redis_url"]
    with pytest.raises(InvalidConfig, match="other servers"):
        attach([], database_url="postgresql://u@192.0.2.2/y")


def test_another_configuration_than_that_of_the_running_instance_is_told(attach: Attach, tmp_path: Path) -> None:
    config = tmp_path / "rightsize.toml"
    config.write_text("[policy]\n")
    said: list[str] = []
    attach([], config=config, **servers_given())
    attach([], on_progress=said.append)
    assert said == []  # nothing else was asked for
    other = tmp_path / "other.toml"
    other.write_text("[policy]\n")
    attach([], config=other, on_progress=said.append)
    assert said == [f"The instance runs with {config}, not with {other}"]
    config.write_text("[policy]\nmax_attempts = 2\n")
    attach([], on_progress=said.append)
    assert "has changed since" in said[1]
