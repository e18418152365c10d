"""Orchestrator, workers and API as real processes, and the few verbs that tests need: submit, wait, kill, examine."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import orjson
from sqlalchemy import Row, text

from orchestrator import ids
from orchestrator.broker import Broker
from orchestrator.contracts import Owner
from orchestrator.errors import Conflict, ServiceUnavailable
from orchestrator.flow import submit
from orchestrator.flow.context import Context, open_context
from orchestrator.local.instance import Instance, erase
from orchestrator.requests import CHAT
from orchestrator.settings import Settings
from orchestrator.store import batches, files, invariants, jobs
from orchestrator.store.files import NewFile
from tests.nursery import Started, nursery

T = TypeVar("T")
ROOT: Final = Path(__file__).resolve().parents[1]
OWNER: Final = Owner(1, 1, 1)
ENDED: Final = ("completed", "failed", "expired", "cancelled")


def chat(text_: str, **more: Any) -> dict[str, Any]:
    """A chat body."""
    return {"model": "auto", "messages": [{"role": "user", "content": text_}], **more}


def row(custom_id: str, body: Mapping[str, Any], url: str = CHAT) -> dict[str, Any]:
    """One row of a batch's input file."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def rows(count: int, text_: str = "Where is my order?") -> list[dict[str, Any]]:
    """So many rows that differ."""
    return [row(f"row-{number}", chat(f"{text_} Number {number}.")) for number in range(count)]


def until(look: Callable[[], T], within_s: float = 30.0, what: str = "") -> T:
    """What `look` gives as soon as it gives something true; fails after `within_s`. A server that is away is waited for."""
    end = time.monotonic() + within_s
    while True:
        with suppress(ServiceUnavailable):
            if found := look():
                return found
        assert time.monotonic() < end, f"not within {within_s} s: {what or look}"
        time.sleep(0.03)


def erase_stopped(data_dir: Path) -> None:
    """Erase an instance as soon as it has stopped."""
    until(lambda: _erased(data_dir), 60, "the instance has stopped")


def _erased(data_dir: Path) -> bool:
    try:
        erase(data_dir)
    except Conflict:
        return False
    return True


class Stack:
    """What a test runs. Every process that it starts has ended when the block ends."""

    def __init__(self, settings: Settings, instance: Instance | None = None) -> None:
        self.settings = settings
        self.instance = instance
        self.processes: list[Started] = []
        self.logs: dict[int, Path] = {}
        self._context: Context | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes:
            process.wait(10)
        # Shown by pytest only for a test that failed.
        for path in self.logs.values():
            sys.stderr.write(f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-4000:]}\n")
        if self._context is not None:
            self._context.close()

    @property
    def context(self) -> Context:
        """The flow's context, as the API has it."""
        if self._context is None:
            self._context = open_context(self.settings, "orchestrator")
        return self._context

    @property
    def broker(self) -> Broker:
        """The broker of the test's own process."""
        return self.context.broker

    # Processes

    def environment(self) -> dict[str, str]:
        """The stack's settings as variables."""
        return {
            f"RIGHTSIZE_{key.upper()}": value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            for key in self.settings.model_fields_set
            if (value := getattr(self.settings, key)) is not None
        }

    def start(
        self, code: str, name: str, *, crash_at: str | None = None, env: Mapping[str, str] | None = None
    ) -> Started:
        """Start a process of ours with the stack's settings."""
        given = self.environment()
        if crash_at:
            given["RIGHTSIZE_CRASH_AT"] = crash_at
        log = self.settings.data_dir / f"{name}-{len(self.processes)}.log"
        process = nursery().start(code, log, {**os.environ, **given, **(env or {})})
        self.processes.append(process)
        self.logs[process.pid] = log
        return process

    def orchestrator(self, **options: Any) -> Started:
        """Start an orchestrator."""
        code = "from orchestrator import commands, settings; commands.orchestrator(settings.Settings.load())"
        return self.start(code, "orchestrator", **options)

    def intake(self, *, ready: bool = True, **options: Any) -> Started:
        """Start an intake, and wait until it takes messages."""
        touched = self.settings.data_dir / f"intake-{len(self.processes)}.ready"
        code = "from orchestrator import intake, settings; intake.main(settings.Settings.load())"
        process = self.start(code, "intake", env={"RIGHTSIZE_READY_FILE": str(touched)}, **options)
        if ready:
            until(touched.exists, what="the intake is ready")
        return process

    def worker(self, *tiers: str, ready: bool = True, **options: Any) -> Started:
        """Start a worker for some tiers (`llm` if none is named), and wait until it has said that it is there."""
        named = list(tiers or ("llm",))
        before = self.count("SELECT count(DISTINCT worker_id) FROM workers")
        process = self.start(
            f"from workers import app; from orchestrator.contracts import Tier; app.main([Tier(n) for n in {named!r}])",
            "worker",
            **options,
        )
        if ready:
            until(lambda: self.count("SELECT count(DISTINCT worker_id) FROM workers") > before, what="worker is ready")
        return process

    def kill(self, process: Started, number: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL, wait for the end."""
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(10)

    # Work

    def submit(self, lines: Iterable[Mapping[str, Any] | bytes], *, window: str = "1h", hints: Mapping[str, Any] | None = None,
               key: str | None = None) -> int:  # fmt: skip
        """Upload rows and create a batch; returns its inner id."""
        blob_key = f"inputs/{ids.uuid7().hex}"
        with self.context.blobs.writing(blob_key) as file:
            for line in lines:
                file.write((line if isinstance(line, bytes) else orjson.dumps(line)) + b"\n")
        with self.context.database.unit_of_work() as session:
            stored = files.add(session, OWNER, ids.uuid7(), NewFile("batch", "rows.jsonl", 0, blob_key))
        made = submit.create_batch(
            self.context,
            OWNER,
            input_file=stored.public_id,
            endpoint=CHAT,
            window=window,
            metadata=None,
            hints=hints,
            idempotency_key=key,
        )
        return int(made.id)

    def batch(self, batch_id: int) -> Row[Any]:
        """A batch's row."""
        with self.context.database.unit_of_work() as session:
            return batches.get(session, batch_id)

    def wait(self, batch_id: int, within_s: float = 60.0) -> Row[Any]:
        """Wait until a batch has ended."""
        return until(
            lambda: (found := self.batch(batch_id)).status in ENDED and found, within_s, f"batch {batch_id} ends"
        )

    def lines(self, batch_id: int) -> list[dict[str, Any]]:
        """All output and error lines of an ended batch."""
        with self.context.database.unit_of_work() as session:
            found = batches.get(session, batch_id)
            keys = self.query("SELECT f.blob_key FROM files f JOIN batches b ON f.id IN (b.output_file_id, b.error_file_id) "
                              "WHERE b.id = :id", id=found.id)  # fmt: skip
        return [orjson.loads(line) for (key,) in keys for line in self.context.blobs.get(key).splitlines()]

    def submit_now(self, body: Mapping[str, Any], *, key: str | None = None, within_s: float = 60.0) -> Row[Any]:
        """Submit an interactive job and return its row."""
        made = submit.submit_job(
            self.context, OWNER, CHAT, dict(body), interactive=True, within_s=within_s, idempotency_key=key
        )
        return self.job(made.public_id)

    def job(self, public_id: Any) -> Row[Any]:
        """A job's row."""
        with self.context.database.unit_of_work() as session:
            found = jobs.find(session, OWNER.tenant_id, public_id)
        assert found is not None
        return found

    def wait_job(self, public_id: Any, within_s: float = 30.0) -> Row[Any]:
        """Wait until a job has ended."""
        return until(lambda: (found := self.job(public_id)).state >= 10 and found, within_s, f"job {public_id} ends")

    # The oracle

    def query(self, sql: str, **values: Any) -> Sequence[Row[Any]]:
        """Rows of a query."""
        with self.context.database.unit_of_work() as session:
            return session.execute(text(sql), values).all()

    def count(self, sql: str, **values: Any) -> int:
        """The one number of a query."""
        return int(self.query(sql, **values)[0][0])

    def doctor(self, grace_s: float = 8.0) -> list[invariants.Violation]:
        """Every invariant that does not hold: the empty list is what every test wants."""
        with self.context.database.unit_of_work() as session:
            return invariants.check(session, grace_s=grace_s, most_attempts=self.context.config.policy.max_attempts)

    def must_hold(self, batch_id: int | None = None, expected: int | None = None) -> None:
        """Check every invariant, and that a batch's lines are its rows, each once."""
        assert self.doctor() == []
        if batch_id is not None:
            found = [line["custom_id"] for line in self.lines(batch_id)]
            assert len(found) == len(set(found)) == (expected if expected is not None else self.batch(batch_id).total)
