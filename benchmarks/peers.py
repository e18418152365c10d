"""Peers to measure beside: Celery and Dramatiq in an environment of their own, as a user would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.processes import Process
from benchmarks.report import FOLDER
from benchmarks.stack import ROOT, Stack

PINS = ("celery[redis]==5.7.*", "dramatiq[redis]==2.2.*")
HERE = Path(__file__).parent


def environment() -> Path:
    """The folder of the peers' programs, made on first use."""
    folder = FOLDER / "venv-peers"
    stamp = folder / ".pins"
    if not stamp.is_file() or stamp.read_text().split() != list(PINS):
        print("Setting up the peers in", folder.relative_to(ROOT))
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PINS], check=True
        )
        stamp.write_text(" ".join(PINS))
    return folder / "bin"


class Peer:
    """A running peer: its worker and its producer, which says `ready` once a first task came back."""

    def __init__(self, stack: Stack, name: str) -> None:
        programs = environment()
        self._stack = stack
        env = {"PEER_SOCKET": stack.valkey_socket, "PYTHONPATH": str(HERE)}
        module = f"peers_{name}"
        workers = {
            "celery": [
                programs / "celery",
                "-A",
                module,
                "worker",
                "--pool",
                "prefork",
                "--concurrency",
                "2",
                "--loglevel",
                "ERROR",
            ],
            "dramatiq": [programs / "dramatiq", module, "--processes", "2"],
        }
        self.worker = stack.start(name, [str(word) for word in workers[name]], env)
        self.producer = stack.start(
            f"{name}-producer", [str(programs / "python"), str(HERE / f"{module}.py")], env, talks=True
        )
        self.producer.hear()

    def parts(self) -> tuple[Process, ...]:
        return self.worker, self.producer

    def close(self) -> None:
        self._stack.stop(self.producer, self.worker)
