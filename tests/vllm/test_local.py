"""A local instance whose llm is vLLM: it starts with `rightsize up`, answers over the API, and leaves no process behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import openai
import psutil
import pytest

from orchestrator.local import account, folders, state
from tests.local.conftest import end, until
from tests.vllm.conftest import WARM_WITHIN_S
from tests.vllm.fleet import fleet_toml

ROOT = Path(__file__).parents[2]
LONG = 60.0


class Up:
    """`rightsize up` in a process of its own, and what it has said so far."""

    def __init__(self, data: Path, config: Path) -> None:
        self.data = data
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RIGHTSIZE_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "up", "--data-dir", str(data), "--config", str(config)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        self.said = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def wait_until_up(self) -> openai.OpenAI:
        """A client of its API, by what it shows to people."""
        until(lambda: "Ctrl-C" in self.said or self.process.poll() is not None, WARM_WITHIN_S)
        assert self.process.poll() is None, self.said
        url, key = re.search(r"http://127\.0\.0\.1:\d+", self.said), re.search(r"RIGHTSIZE_API_KEY=(\S+)", self.said)
        assert url, self.said
        assert key, self.said
        return openai.OpenAI(base_url=f"{url[0]}/v1", api_key=key[1], timeout=LONG)

    def processes(self) -> list[psutil.Process]:
        """The supervisor and every process under it."""
        published = state.read(self.data)
        assert published is not None
        supervisor = psutil.Process(published.supervisor)
        return [supervisor, *supervisor.children(recursive=True)]

    def worker(self) -> state.PartState:
        """What the instance says of the worker with vLLM in it."""
        published = state.read(self.data)
        part = published.part("worker-llm") if published else None
        assert part is not None
        return part


def engines(running: list[psutil.Process]) -> list[psutil.Process]:
    """Those in which vLLM's scheduler and model run."""
    found = []
    for process in running:
        with suppress(psutil.NoSuchProcess):
            if "EngineCore" in process.name():
                found.append(process)
    return found


@pytest.fixture
def up(weights: Path) -> Iterator[Up]:
    folder = Path(tempfile.mkdtemp(prefix="rs-test-"))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    data, config = folder / "data", folder / "rightsize.toml"
    config.write_text(fleet_toml(weights))
    started = Up(data, config)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()
    started.reader.join(LONG)
    if started.process.stdout is not None:
        started.process.stdout.close()
    end(data)
    shutil.rmtree(folders.runtime_folder(data, account.server_account()), ignore_errors=True)
    if (link := data / "servers").is_symlink():
        shutil.rmtree(link.readlink())
    shutil.rmtree(folder)


def test_up_waits_for_vllm_answers_starts_a_dead_one_again_and_leaves_nothing(up: Up) -> None:
    client = up.wait_until_up()
    assert up.worker().state == "ready"
    ask = {"role": "user", "content": "Hello?"}
    answer = client.chat.completions.create(
        model="auto", messages=[ask], max_tokens=5, extra_body={"reasoning_effort": "none"}
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 5
    assert answer.model == "tiny"

    first = up.processes()
    (engine,) = engines(first)
    os.kill(up.worker().pid, signal.SIGKILL)
    until(lambda: not engine.is_running(), LONG)
    # A process that has imported vLLM: on a busy machine that alone takes a minute.
    until(lambda: up.worker().restarts == 1 and engines(up.processes()), WARM_WITHIN_S)

    # It is told to end while the new worker still loads.
    assert up.worker().state == "starting"
    second = up.processes()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(LONG) == 0, up.said
    assert psutil.wait_procs([*first, *second], LONG)[1] == []
    ended = state.read(up.data)
    assert ended is not None
    assert ended.status == "stopped"
