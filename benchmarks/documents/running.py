"""A whole service for documents: servers, API, orchestrator and a worker, with the real command that submits a folder to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil

from benchmarks import arms
from benchmarks.documents.reads import high_water_bytes
from benchmarks.processes import Process, cpu_s
from benchmarks.stack import Stack, command
from orchestrator.client import Rightsize

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["invoice", "letter", "other"]},
        "total": {"type": "number", "minimum": 0},
        "paid": {"type": "boolean"},
        "issuer": {"type": "string"},
    },
    "required": ["kind", "total", "issuer"],
    "additionalProperties": False,
}
"""Every way to break an answer breaks it."""
EVERY_S: Final = 0.2
WITHIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Service:
    """The running service and how it is called."""

    stack: Stack
    url: str
    key: str
    orchestrator: Process
    api: Process

    def client(self) -> Rightsize:
        """A client of the service."""
        return Rightsize(self.url, self.key, timeout_s=120.0)

    def cpu_s(self) -> dict[str, float]:
        """CPU-seconds so far of each part, with its children."""
        postgres, valkey = self.stack.server_pids()
        pids = {"API": self.api.pid, "orchestrator": self.orchestrator.pid, "PostgreSQL": postgres, "Valkey": valkey}
        return {part: cpu_s([pid]) for part, pid in pids.items()}

    def one(self, sql: str, *values: object) -> Any:
        """The first value of a query."""
        with self.stack.connect() as connection:
            row = connection.execute(sql, values).fetchone()
        assert row
        return row[0]

    def submit(self, folder: Path, *words: str) -> Command:
        """Start `rightsize submit FOLDER --task extract`, in a process of its own."""
        schema = self.stack.folder / "schema.json"
        schema.write_text(json.dumps(SCHEMA))
        argv = command("submit", str(folder), "--task", "extract", "--schema", str(schema), "--json", *words)
        env = {"RIGHTSIZE_URL": self.url, "RIGHTSIZE_API_KEY": self.key}
        return Command(self.stack.start("submit", argv, env, talks=True), time.monotonic())


@dataclass(slots=True)
class Command:
    """The command while it runs."""

    process: Process
    began: float
    tree: Tree = field(init=False)

    def __post_init__(self) -> None:
        self.tree = Tree(self.process.pid)

    def batch(self) -> dict[str, Any]:
        """Wait for its end: the batch that it made."""
        with self.tree:
            out, _ = self.process.popen.communicate(timeout=WITHIN_S)
        if self.process.popen.returncode:
            raise RuntimeError(f"The command failed: {self.process.log.read_text()[-2000:]}")
        batch: dict[str, Any] = json.loads(out)
        return batch

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.began


class Tree:
    """The most memory of a process and its children together, and their CPU-seconds, read often while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory of a command")
        self.most_bytes, self.cpu_s = 0, 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.most_bytes = max(self.most_bytes, _high_bytes(self._pid))
            with suppress(psutil.NoSuchProcess):
                self.cpu_s = max(self.cpu_s, cpu_s([self._pid]))


def _high_bytes(pid: int) -> int:
    """The most that each process of a tree ever had, added up: pages that they share count for each of them."""
    try:
        root = psutil.Process(pid)
        tree = [root.pid, *(one.pid for one in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(high_water_bytes, tree))


@contextmanager
def service(fleet_toml: str, *, worker: bool = True, **pace: object) -> Iterator[Service]:
    """One process of each part; without a worker, jobs stay queued."""
    with Stack(fleet_toml, **pace) as stack:
        orchestrator = stack.orchestrator()
        if worker:
            stack.worker()
        api, url = stack.api()
        yield Service(stack, url, arms.api_key(stack), orchestrator, api)


def settled(found: Service, batch_id: str) -> Mapping[str, Any]:
    """The batch once it has ended."""
    with found.client() as client:
        return client.wait(batch_id, within_s=WITHIN_S)
