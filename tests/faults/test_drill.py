"""The drill: a batch of 5,000 rows on an instance as `rightsize up` runs it, while each of its processes in turn is killed with -9.

Nobody helps: the supervisor starts again what died, and the caller has OpenAI's own client with nothing but its own retries.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import openai
import orjson
import pytest

from orchestrator.local import instance
from orchestrator.local.instance import Instance
from orchestrator.settings import Settings
from tests.conftest import PACE
from tests.stack import ENDED, Stack, erase_stopped, rows, until

ROWS = 5_000
FLEET = """
[models.fast]
tier = "llm"
engine = "simulated"
slots = 32
expected_latency_s = 0.1
[models.fast.simulate]
latency_s = [0.05, 0.15]
output_tokens = [5, 80]
[[models.fast.rates]]
input = "1.00"
output = "2.00"
request = "0.001"
"""
KILLS = (("orchestrator", 300), ("worker-llm", 1_200), ("api", 2_400), ("worker-llm", 3_200))
"""What is killed once so many attempts are recorded; the API is killed before them too, while the batch is made."""
RETRIES = 20
ATTEMPTS = "SELECT count(*) FROM attempts"
LOST = "SELECT count(*) FROM dispatches WHERE alone"
"""Where jobs of a dispatch go whose worker was lost."""
IN_HAND = "SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL"
TWICE = "SELECT count(*) FROM (SELECT FROM transfers WHERE kind = 'charge' GROUP BY job_id HAVING count(*) > 1) one"
CHARGED = "SELECT count(*), coalesce(sum(amount_usd), 0) FROM transfers WHERE kind = 'charge'"


@dataclass(frozen=True, slots=True)
class Got:
    """What the caller has in the end."""

    batch: openai.types.Batch
    lines: list[dict[str, object]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Instance, Stack]]:
    """A whole instance under its supervisor, and the verbs with which a test looks into it."""
    config = tmp_path / "rightsize.toml"
    config.write_text(FLEET, "utf-8")
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as folder:
        given = {**PACE, "lease_s": 5.0, "data_dir": Path(folder) / "data", "config": config}
        with instance.attach(Settings.load(given)) as attached:
            urls = {"database_url": attached.database_url, "redis_url": attached.redis_url}
            with Stack(Settings.load({**given, **urls}), instance=attached) as stack:
                yield attached, stack
        erase_stopped(Path(folder) / "data")


def kill(attached: Instance, name: str) -> int:
    """Kill a part with -9; gives the pid that it had."""
    before = ready(attached, name)
    os.kill(before, signal.SIGKILL)
    return before


def started_again(attached: Instance, name: str, before: int) -> None:
    """Wait until the supervisor has another one ready in its place."""
    until(lambda: ready(attached, name) not in (0, before), 60, f"{name} is started again")


def ready(attached: Instance, name: str) -> int:
    """The pid of a part, 0 while it is not ready."""
    found = attached.state.part(name)
    return found.pid if found is not None and found.state == "ready" else 0


def called(url: str, key: str) -> Got:
    """Hand in the batch, wait for its end and fetch its lines, as any caller would."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=RETRIES, timeout=20) as client:
        content = b"".join(orjson.dumps(line) + b"\n" for line in rows(ROWS))
        file = client.files.create(file=("rows.jsonl", content), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        while batch.status not in ENDED:
            time.sleep(0.1)
            batch = client.batches.retrieve(batch.id)
        found = [file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id]
        return Got(batch, [orjson.loads(line) for one in found for line in client.files.content(one).text.splitlines()])


def killed_in_turn(attached: Instance, stack: Stack, ended: Callable[[], bool]) -> None:
    """Kill each process once the work has come so far; fails if the work ends before the last of them."""

    def come(sql: str, least: int) -> bool:
        assert not ended(), "the caller was done, or failed, before everything was killed"
        return stack.count(sql) >= least

    until(lambda: come("SELECT count(*) FROM batches", 1), 60, "the batch is made")
    started_again(attached, "api", kill(attached, "api"))
    for name, least in KILLS:
        until(lambda least=least: come(ATTEMPTS, least), 120, f"{least} attempts")
        until(lambda: come(IN_HAND, 1), 60, "a worker has jobs in its hands")
        assert stack.count("SELECT count(*) FROM batches WHERE status = 'in_progress'") == 1
        before = kill(attached, name)
        if name == "api":  # the work goes on without it: whoever waits for it may see the end of that
            api = before
        else:
            started_again(attached, name, before)
    started_again(attached, "api", api)


@pytest.mark.fault
@pytest.mark.slow
def test_a_batch_outlives_the_death_of_every_process_and_nothing_of_it_is_lost_doubled_or_paid_twice(
    running: tuple[Instance, Stack],
) -> None:
    attached, stack = running
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(called, attached.api_url, attached.api_key)
        killed_in_turn(attached, stack, caller.done)
        got = caller.result(240)
    counts = got.batch.request_counts
    assert counts is not None
    assert (got.batch.status, counts.completed, counts.failed) == ("completed", ROWS, 0)
    found = [str(line["custom_id"]) for line in got.lines]
    assert sorted(found) == sorted(f"row-{number}" for number in range(ROWS)), "each once, and no other"
    assert stack.count("SELECT count(*) FROM batches") == 1, "a create that was sent again made no second batch"
    told = sum(Decimal(line["rightsize"]["cost_usd"]) for line in got.lines)  # type: ignore[index]
    assert tuple(stack.query(CHARGED)[0]) == (ROWS, told)
    assert Decimal((got.batch.model_extra or {})["rightsize"]["cost_usd"]) == told > 0
    assert stack.count(TWICE) == 0
    assert stack.count(LOST) > 0, "a worker was killed with jobs in its hands"
    stack.must_hold(stack.count("SELECT max(id) FROM batches"), ROWS)
    restarts = {
        name: part.restarts for name in ("api", "orchestrator", "worker-llm") if (part := attached.state.part(name))
    }
    assert restarts == {"api": 2, "orchestrator": 1, "worker-llm": 2}
