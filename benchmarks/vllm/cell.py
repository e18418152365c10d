"""What the benchmarks of vLLM run against: a stack with one vLLM worker, and vLLM's own batch runner as a peer, both warm."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.processes import Process, cpu_s
from benchmarks.produce import submit_by_flow
from benchmarks.stack import Stack, command
from orchestrator.flow.context import Context, open_context

WARM_WITHIN_S: Final = 600.0
MODEL: Final = "tiny"
SLOTS: Final = 128
CONTEXT: Final = 2048
PACE: Final = {"lease_s": 10, "heartbeat_s": 2}
"""Sooner than by default, so that starting and ending takes less of a benchmark's time."""
TALKATIVE: Final = {"RIGHTSIZE_LOG_LEVEL": "INFO", "RIGHTSIZE_LOG_FORMAT": "json"}
FILE_ORDER: Final = """
CREATE FUNCTION file_order() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.prefix_hash := 0; RETURN NEW; END';
CREATE TRIGGER file_order BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION file_order();
"""
ARGUMENTS: Final = {"max_model_len": CONTEXT, "max_num_seqs": SLOTS, "enable_prefix_caching": True}
FLEET: Final = """
[models.{model}]
tier = "llm"
engine = "vllm"
path = "{path}"
slots = {slots}
reserve = {reserve}
expected_latency_s = 0.3
max_output_tokens = 64
timeout_s = 600
[models.{model}.vllm]
{arguments}
[[models.{model}.rates]]
input = "0.10"
output = "0.40"
"""


def fleet(path: Path, *, slots: int = SLOTS, reserve: float = 0.0, **arguments: Any) -> str:
    """A fleet of one model in vLLM. `arguments` are vLLM's, over those that the peer has too."""
    given = {**ARGUMENTS, "max_num_seqs": slots, **arguments}
    flat = {
        f"{key}.{inner}" if inner else key: value
        for key, held in given.items()
        for inner, value in (held.items() if isinstance(held, dict) else [("", held)])
    }
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in flat.items())
    return FLEET.format(model=MODEL, path=path, slots=slots, reserve=reserve, arguments=lines)


def chat(number: int, *, most: int, system: str | None = None, text: str | None = None) -> dict[str, Any]:
    """One row of a batch that writes exactly `most` tokens: a random model would stop anywhere."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append(
        {"role": "user", "content": text or f"Question {number}: where is my order, and when does it come?"}
    )
    body = {"model": MODEL, "messages": messages, "max_tokens": most, "min_tokens": most, "temperature": 0}
    return {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def chats(count: int, low: int = 16, high: int = 32, seed: int = 1) -> list[dict[str, Any]]:
    """Chats that write between `low` and `high` tokens."""
    dice = random.Random(seed)
    return [chat(number, most=dice.randint(low, high)) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one arm."""

    rows: int
    succeeded: int
    seconds: float
    cpu_s: float
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Rows that succeeded, a second."""
        return self.succeeded / self.seconds


class Ours:
    """Orchestrator and one vLLM worker, warm."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.orchestrator = stack.orchestrator()
        self.worker = self.start_worker()
        self.context: Context = open_context(stack.settings, "orchestrator")

    def start_worker(self) -> Process:
        """Start the worker, and wait until its engine is warm."""
        process = self.stack.start("worker", command("worker", "--tier", "llm"), TALKATIVE)
        with self.stack.connect() as connection:
            process.wait_until(
                lambda: (
                    connection.execute("SELECT count(*) FROM workers WHERE pid = %s", [process.pid]).fetchone() == (1,)
                ),
                WARM_WITHIN_S,
            )
        return process

    def end_worker(self) -> dict[str, Any]:
        """Stop the worker in order; what its engine says it did since it was loaded (`engine_closed`)."""
        self.stack.stop(self.worker)
        for line in reversed(self.worker.log.read_text("utf-8", "replace").splitlines()):
            if line.startswith("{") and '"engine_closed"' in line:
                said: dict[str, Any] = json.loads(line)
                return said
        raise RuntimeError(
            f"The worker's log does not tell what its engine did:\n{self.worker.log.read_text()[-2000:]}"
        )

    def keep_file_order(self, keep: bool) -> None:
        """Switch our order off: rows that are read from now on run as they stand in the file. Only where they stand differs."""
        with self.stack.connect() as connection:
            if connection.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'file_order'").fetchone() == (0,):
                connection.execute(FILE_ORDER)
            connection.execute(f"ALTER TABLE jobs {'ENABLE' if keep else 'DISABLE'} TRIGGER file_order")

    def run(self, rows: Sequence[dict[str, Any]]) -> Run:
        """Submit rows, and wait until all are recorded."""
        before = self.stack.cpu_s(self.orchestrator, self.worker)
        own = time.process_time()
        started = time.monotonic()
        look = submit_by_flow(self.context, rows)
        while (found := look())[1] < len(rows) and found[0] not in ("completed", "failed"):
            time.sleep(0.05)
        seconds = time.monotonic() - started
        spent = self.stack.cpu_s(self.orchestrator, self.worker) - before + time.process_time() - own
        with self.stack.connect() as connection:
            (succeeded, cached, read), = connection.execute(
                "SELECT count(*) FILTER (WHERE a.outcome = 'succeeded'), sum(a.cached_tokens), sum(a.input_tokens) FROM attempts a "
                "JOIN jobs j ON j.id = a.job_id WHERE j.batch_id = (SELECT max(id) FROM batches)"
            ).fetchall()  # fmt: skip
        while look()[0] not in ("completed", "failed"):
            time.sleep(0.05)
        return Run(len(rows), succeeded, seconds, spent, {"hit_rate": float(cached or 0) / max(1, read or 0)})


class RunBatch:
    """vLLM's own batch runner on an engine of its own that stays warm."""

    def __init__(
        self, stack: Stack, path: Path, *, environment: dict[str, str] | None = None, **arguments: Any
    ) -> None:
        """`environment` over our own; `arguments` are vLLM's."""
        self.folder = stack.folder
        given = json.dumps({"model": str(path), "served_model_name": MODEL, **ARGUMENTS, **arguments})
        self.process = stack.start(
            f"run_batch-{len(environment or {})}",
            [sys.executable, "-m", "benchmarks.vllm.run_batch_peer", given],
            environment,
            talks=True,
        )
        self.process.hear()

    def run(self, rows: Iterable[dict[str, Any]]) -> Run:
        """Run rows from a file to a file."""
        source, target = self.folder / "peer-in.jsonl", self.folder / "peer-out.jsonl"
        listed = list(rows)
        source.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in listed))
        before = cpu_s([self.process.pid])
        self.process.say(json.dumps({"in": str(source), "out": str(target)}))
        told = self.process.hear()
        return Run(len(listed), told["succeeded"], told["seconds"], cpu_s([self.process.pid]) - before, told)


class Fixed:
    """vLLM alone, with as many requests in it as it is told to hold."""

    def __init__(self, stack: Stack, path: Path, **arguments: Any) -> None:
        self.folder = stack.folder
        given = json.dumps({"model": str(path), **ARGUMENTS, **arguments})
        self.process = stack.start("fixed", [sys.executable, "-m", "benchmarks.vllm.fixed_peer", given], talks=True)
        self.process.hear()

    def run(self, rows: Sequence[dict[str, Any]], at_once: int) -> tuple[float, float]:
        """Requests a second while it held so many, and the share of them that was preempted."""
        source = self.folder / "fixed-in.jsonl"
        source.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        self.process.say(json.dumps({"in": str(source), "at_once": at_once}))
        told = self.process.hear()
        return told["per_second"], told["preempted"] / len(rows)


@contextmanager
def cell(
    path: Path, *, slots: int = SLOTS, reserve: float = 0.0, pace: Mapping[str, object] = PACE, **arguments: Any
) -> Iterator[Ours]:
    """A stack with our worker on a model. `pace` are settings such as `lease_s`."""
    with Stack(fleet(path, slots=slots, reserve=reserve, **arguments), **pace) as stack:
        yield Ours(stack)
