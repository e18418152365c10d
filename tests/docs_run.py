"""Runs the blocks of a page as a reader would: one folder and one environment from its first block to its last."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from orchestrator.local.probe import free_port
from tests.docs_check import ROOT, Block, commands
from tests.stack import erase_stopped, until

LENT: Final = ("examples", "orchestrator/sample.toml")
"""What pages refer to: the reader stands in a checkout."""
PORT: Final = "8080"
"""The port of the instance on all pages; tests take free ones instead of this and of the next."""
OTHER_PORT: Final = "8000"


class Session:
    """What lasts from block to block of a page."""

    def __init__(self, folder: Path, data_dir: Path, ports: Mapping[str, str]) -> None:
        self.folder = folder
        self.data_dir = data_dir
        self.ports = ports
        self._state = folder / ".environment"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RIGHTSIZE_", "OPENAI_"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RIGHTSIZE_DATA_DIR": str(data_dir),
        }
        for name in LENT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name)

    def run(self, block: Block) -> None:
        """Run a block; raises AssertionError with all output for a command that does not leave with 0."""
        if block.serves:
            with ExitStack() as serving:
                for command in commands(block):
                    serving.enter_context(self.serving(command.text))
        elif block.language == "python":
            script = self.folder / "block.py"
            script.write_text(self._with_free_ports("\n".join(block.lines)), "utf-8")
            self.script([f"python {script.name}"])
        else:
            self.script([command.text for command in commands(block)])

    def script(self, lines: Sequence[str], within_s: float = 300) -> str:
        """Run commands until one fails, and return what they printed. What they export, the next script has."""
        state = shlex.quote(str(self._state))
        text = "\n".join([f"touch {state}; . {state}; set -euxo pipefail", *map(self._with_free_ports, lines)])
        done = subprocess.run(
            ["bash", "-c", f"{text}\n{{ export -p >{state}; }} 2>&-"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert done.returncode == 0, f"left with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, command: str, within_s: float = 120) -> Iterator[None]:
        """A command that runs until it is stopped: wait until it is ready, and stop it in order at the end."""
        with tempfile.TemporaryDirectory(dir=self.folder) as own:
            ready, log = Path(own) / "ready", Path(own) / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    ["bash", "-c", self._with_free_ports(command)],
                    cwd=self.folder,
                    env={**self._environment, "RIGHTSIZE_READY_FILE": str(ready)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            try:
                until(
                    lambda: process.poll() is not None or ready.exists() or b"Rightsize is up" in log.read_bytes(),
                    within_s,
                    command,
                )
                assert process.poll() is None, f"{command} left with {process.returncode}:\n{log.read_text('utf-8')}"
                yield
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                code = process.wait(within_s)
            assert code == 0, f"{command} left with {code} after Ctrl-C:\n{log.read_text('utf-8')}"

    def _with_free_ports(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(self.ports)})\b", lambda found: self.ports[found[0]], text)


@contextmanager
def rightsize_up() -> Iterator[Session]:
    """A session with a ready instance on a data directory of its own; nothing is left of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="rs-") as folder:
        made = new_session(Path(folder))
        try:
            with made.serving(f"rightsize up --port {PORT}"):
                yield made
        finally:
            erase_stopped(made.data_dir)


def new_session(folder: Path, beside: Session | None = None) -> Session:
    """A session in a new folder, on the instance of another one or on none yet."""
    if beside is not None:
        return Session(folder, beside.data_dir, beside.ports)
    return Session(folder / "first", folder / "data", {shown: str(free_port()) for shown in (PORT, OTHER_PORT)})
