"""LiteLLM's proxy as a peer, in an environment of its own and at its best: one worker process, its own mock as the backend.

What it has not to do in comparison: nothing of a request is durable, and there is no row, no ledger and no budget of it. A mock
answer costs it no second hop: no HTTP client, no connection and no parsing of what a server said.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import Process, cpu_s
from benchmarks.report import FOLDER
from benchmarks.service.generator import Target
from benchmarks.service.ours import BODY
from benchmarks.service.trivial import SAID
from benchmarks.stack import ROOT, Stack

VERSION: Final = "1.108.7"
"""The newest whose `proxy` extra can be installed whole: releases from 1.110 name a companion, `litellm-proxy`, that the index
may not have. It was published after both attacks on its releases were closed."""
MALICIOUS: Final = frozenset({"1.82.7", "1.82.8", "1.107.0"})
"""Releases of March and October 2026 that stole credentials; the index has them no more, but a mirror or a cache may."""
PINS: Final = (f"litellm[proxy]=={VERSION}", "httptools>=0.7")
"""With the fast parser of HTTP, which its server uses where it is there."""
KEY: Final = "sk-bench-0000000000000000000000000000000000"
"""It does not start without one. It stands in its configuration: a key of its own, unlike ours, would need its database."""
CONFIG: Final = f"""
model_list:
  - model_name: noop
    litellm_params:
      model: openai/noop
      api_key: none
      mock_response: "{SAID}"
litellm_settings:
  callbacks: []
  num_retries: 0
general_settings:
  master_key: {KEY}
"""
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR")
"""All that it sees of our environment: it reads some hundred variables."""
QUIET: Final = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY_DISABLED": "True",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """The running proxy."""

    target: Target
    process: Process

    def cpu_s(self) -> dict[str, float]:
        return {"proxy": cpu_s([self.process.pid])}


def environment() -> Path:
    """The folder of its programs, made on first use."""
    assert VERSION not in MALICIOUS, f"LiteLLM {VERSION} steals credentials: pin another release"
    folder = FOLDER / "litellm-venv"
    stamp = folder / ".pins"
    if not stamp.is_file() or stamp.read_text().split() != list(PINS):
        print("Setting up LiteLLM", VERSION, "in", folder.relative_to(ROOT), "(about 800 MB)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--only-binary", ":all:", *PINS], check=True)
        stamp.write_text(" ".join(PINS))
    return folder / "bin"


@contextmanager
def proxy(stack: Stack) -> Iterator[Peer]:
    """The proxy on a free port, ended with the block."""
    programs, port = environment(), _free_port()
    url = f"http://127.0.0.1:{port}"
    config = stack.folder / "litellm.yaml"
    config.write_text(CONFIG)
    words = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {key: os.environ[key] for key in KEPT if key in os.environ} | QUIET | {"HOME": str(stack.folder)}
    process = Process(
        "litellm", [str(programs / "litellm"), *words], env, stack.folder / "litellm.log", cwd=stack.folder
    )
    try:
        process.wait_until(lambda: _alive(url), within_s=120.0)
        yield Peer(Target(url, KEY, {**BODY, "model": "noop"}), process)
    finally:
        process.stop()


def _alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/liveliness", timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
