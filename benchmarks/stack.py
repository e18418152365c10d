"""An isolated Rightsize for a benchmark: its own PostgreSQL and Valkey, orchestrator, API and workers, all gone at the end."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks.processes import Process, cpu_s
from orchestrator.local import instance, processes
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
FLEET = """
[models.noop]
tier = "llm"
engine = "simulated"
slots = {slots}
expected_latency_s = {latency}
[models.noop.simulate]
latency_s = [{low}, {high}]
[[models.noop.rates]]
request = "0.001"
"""


def fleet(*, slots: int = 64, latency_s: tuple[float, float] = (0.0, 0.0)) -> str:
    """A fleet of one simulated model that answers after a time between the two, or at once."""
    return FLEET.format(slots=slots, latency=sum(latency_s) / 2, low=latency_s[0], high=latency_s[1])


class Stack:
    """Everything that a benchmark runs against. `pace` are settings such as `lease_s`."""

    def __init__(self, fleet_toml: str, **pace: object) -> None:
        self._fleet_toml = fleet_toml
        self._pace = {f"RIGHTSIZE_{key.upper()}": str(value) for key, value in pace.items()}
        self._processes: list[Process] = []
        self._count = 0

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="rs-bench-"))
        self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # the servers of root run as another account
        self.config = self.folder / "rightsize.toml"
        self.config.write_text(self._fleet_toml)
        self._servers = instance.attach(Settings(data_dir=self.folder / "data"), parts=[])
        try:
            self.database_url, self.redis_url = self._servers.database_url, self._servers.redis_url
            self.use_database("bench")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything that was started, the servers last, and remove their data."""
        for process in reversed(self._processes):
            process.stop()
        supervisor = self._servers.state
        self._servers.close()
        until = time.monotonic() + 30.0
        while processes.is_same(supervisor.supervisor, supervisor.supervisor_ticks) and time.monotonic() < until:
            time.sleep(0.05)
        link = self.folder / "data" / "servers"
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def use_database(self, name: str) -> None:
        """Make a database of that name with our schema, and use it from now on."""
        base = self._servers.database_url
        with psycopg.connect(base, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        self.database_url = base.replace("/rightsize?", f"/{name}?")
        self.run_once("migrate")

    @property
    def env(self) -> dict[str, str]:
        """The environment in which all parts run; nothing of the caller's settings is in it."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("RIGHTSIZE_")}
        return {
            **own, "PYTHONPATH": str(ROOT), "RIGHTSIZE_DATABASE_URL": self.database_url, "RIGHTSIZE_REDIS_URL": self.redis_url,
            "RIGHTSIZE_DATA_DIR": str(self.folder / "data"), "RIGHTSIZE_CONFIG": str(self.config), "RIGHTSIZE_LOG_LEVEL": "WARNING",
            **self._pace,
        }  # fmt: skip

    @property
    def settings(self) -> Settings:
        """The same for code that runs in this process."""
        given = {
            key.removeprefix("RIGHTSIZE_").lower(): value
            for key, value in self.env.items()
            if key.startswith("RIGHTSIZE_")
        }
        return Settings.load(given)

    @property
    def valkey_socket(self) -> str:
        """The path of Valkey's socket: peers use its other databases."""
        return self.redis_url.removeprefix("redis+socket://").partition("?")[0]

    def connect(self) -> psycopg.Connection[Any]:
        """A connection to the database in use, in autocommit."""
        return psycopg.connect(self.database_url, autocommit=True)

    def run_once(self, *words: str) -> str:
        """Run one of our commands to its end and return what it printed."""
        process = self.start(words[0], command(*words), talks=True)
        out, _ = process.popen.communicate(timeout=120)
        self._processes.remove(process)
        if process.popen.returncode:
            raise RuntimeError(f"rightsize {' '.join(words)} failed: {out}{process.log.read_text()[-2000:]}")
        return out

    def start(
        self, name: str, argv: Sequence[str], env: dict[str, str] | None = None, *, talks: bool = False
    ) -> Process:
        """Start a program that ends with the stack."""
        process = Process(name, argv, {**self.env, **(env or {})}, self.folder / f"{name}.log", talks=talks, cwd=ROOT)
        self._processes.append(process)
        return process

    def part(self, *words: str) -> Process:
        """Start one of our long-running parts and wait until it says that it is ready."""
        self._count += 1
        ready = self.folder / f"{words[0]}-{self._count}.ready"
        process = self.start(words[0], command(*words), {"RIGHTSIZE_READY_FILE": str(ready)})
        process.wait_until(ready.exists)
        return process

    def orchestrator(self) -> Process:
        return self.part("orchestrator")

    def worker(self) -> Process:
        return self.part("worker", "--tier", "llm")

    def worker_unready(self) -> Process:
        """Start a worker without waiting for it."""
        return self.start("worker", command("worker", "--tier", "llm"))

    def api(self) -> tuple[Process, str]:
        """Start the API on a free port; returns its address too."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = self.start("api", command("api", "--port", str(port)))
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: _answers(f"{url}/readyz"))
        return process, url

    def stop(self, *parts: Process) -> None:
        for process in parts:
            process.stop()
            self._processes.remove(process)

    def server_pids(self) -> list[int]:
        """PostgreSQL and Valkey."""
        return [part.pid for name in ("postgres", "valkey") if (part := self._servers.state.part(name))]

    def cpu_s(self, *others: Process) -> float:
        """CPU-seconds so far of both servers and of some processes, with all their children."""
        return cpu_s([*self.server_pids(), *(process.pid for process in others)])


def command(*words: str) -> list[str]:
    """One of our own commands, run by this Python."""
    return [sys.executable, "-m", "orchestrator.cli", *words]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
