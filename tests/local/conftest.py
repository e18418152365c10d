"""Real instances in folders of their own: everything that a test starts has ended when it is over."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import redis

from orchestrator.local import account, folders, instance, processes, state
from orchestrator.local.instance import Instance
from orchestrator.local.parts import PORT, Part
from orchestrator.settings import Settings

T = TypeVar("T")
HERE = Path(__file__).parent


def until(look: Callable[[], T], within_s: float = 15.0) -> T:
    """What `look` gives as soon as it gives something true; fails after `within_s`."""
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end, f"nothing within {within_s} s"
        time.sleep(0.01)
    return found


def stand_in(name: str, *words: str, **more: Any) -> Part:
    """A part that runs `stand_in.py`."""
    return Part(name, (sys.executable, str(HERE / "stand_in.py"), *words), **more)


def api_and_key() -> list[Part]:
    """Stand-ins for the API and for the command that makes its key."""
    return [stand_in("key", "key", kind="key"), stand_in("api", "api", PORT, kind="http")]


def connect(attached: Instance) -> psycopg.Connection[Any]:
    """A connection to the instance's database, in autocommit."""
    return psycopg.connect(attached.database_url, autocommit=True)


def broker(attached: Instance) -> redis.Redis:
    """A client of the instance's Valkey."""
    path = attached.redis_url.removeprefix("redis+socket://").partition("?")[0]
    return redis.Redis(unix_socket_path=path)


def pid_of(attached: Instance, name: str) -> int:
    """The pid of a part that is ready now."""
    part = until(lambda: (found := attached.state.part(name)) and found.state == "ready" and found)
    return part.pid


def all_pids(attached: Instance) -> list[int]:
    """The supervisor and every process under it."""
    found, left = [], [attached.state.supervisor]
    while left:
        pid = left.pop()
        found.append(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children")
        left += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def gone(pids: Sequence[int]) -> bool:
    """Whether none of these processes runs."""
    return all(processes.start_ticks(pid) is None for pid in pids)


def fill(attached: Instance, rows: int) -> None:
    """Put that many rows into a table `kept` and a list `kept`, and nothing else."""
    with connect(attached) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute(f"CREATE TABLE kept AS SELECT generate_series(1, {rows}) AS n")
    broker(attached).delete("kept")
    broker(attached).rpush("kept", *range(rows))


def kept(attached: Instance) -> tuple[int, int]:
    """How many rows and list items there are, or zeros while a server does not answer."""
    try:
        with connect(attached) as connection:
            row = connection.execute("SELECT count(*) FROM kept").fetchone()
        return (row[0] if row else 0, broker(attached).llen("kept"))
    except (psycopg.OperationalError, redis.ConnectionError):
        return (0, 0)


def end(data: Path) -> None:
    """End the supervisor of a data directory, if one runs, and all that it started."""
    published = state.read(data)
    if published and published.is_live():
        processes.send(published.supervisor, signal.SIGTERM)
        until(lambda: not published.is_live())
    if published:
        until(lambda: gone([part.pid for part in published.parts]))


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A new data directory that the servers' account can reach; nothing runs on it any more afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rs-test-"))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    data = folder / "data"
    yield data
    end(data)
    shutil.rmtree(folders.runtime_folder(data, account.server_account()))
    link = data / "servers"
    if link.is_symlink():
        shutil.rmtree(link.readlink())
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made_servers() -> Iterator[Path]:
    """The servers' folder of an instance that was started once, to spare most tests the making of a database."""
    folder = Path(tempfile.mkdtemp(prefix="rs-made-"))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    with instance.attach(Settings(data_dir=folder / "data"), parts=[]) as attached:
        pids = all_pids(attached)
    until(lambda: gone(pids))
    yield folder / "data" / "servers"
    shutil.rmtree(folder)


@pytest.fixture
def warm(data_dir: Path, made_servers: Path) -> Iterator[None]:
    """Lends the test's data directory databases that are made already (see `fill`)."""
    folders.data_dir(data_dir)
    made_servers.rename(data_dir / "servers")
    yield
    end(data_dir)
    (data_dir / "servers").rename(made_servers)


@pytest.fixture
def attach(data_dir: Path) -> Iterator[Callable[..., Instance]]:
    """`instance.attach` to the test's data directory, by default to the servers alone; closed afterwards."""
    attached: list[Instance] = []

    def attach(parts: Sequence[Part] | None = (), port: int | None = None, **given: Any) -> Instance:
        said, workers = given.pop("on_progress", None), given.pop("workers", True)
        settings = Settings(data_dir=data_dir, stop_within_s=1.0, **given)
        one = instance.attach(settings, port=port, parts=parts, on_progress=said, workers=workers)
        attached.append(one)
        return one

    yield attach
    for one in attached:
        one.close()


@pytest.fixture
def user(data_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a user in a process (and process group) of its own, killed afterwards."""
    users: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        argv = [sys.executable, str(HERE / "user.py"), str(data_dir)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])}
        one = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True, env=env)
        users.append(one)
        return one

    yield start
    for one in users:
        one.kill()
        one.communicate()
