"""A data directory, and the real command on it as a subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from tests.stack import ROOT, chat, row, until

RIGHTSIZE: Final = str(Path(sys.executable).with_name("rightsize"))
FLEET: Final = ROOT / "tests/fleet.toml"
WITHIN_S: Final = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run: the working folder, and the data directory that they find in their environment."""

    folder: Path
    data_dir: Path

    def run(
        self, *words: str, code: int = 0, shell: str | None = None, **given: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, or a line of a shell in which `$r` is the command, and check the code that it leaves with.

        No output may ever hold a traceback.
        """
        argv = ["bash", "-c", shell] if shell else [RIGHTSIZE, *words]
        given = {"stdin": subprocess.DEVNULL, **given} if "input" not in given else given
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, errors="replace", timeout=WITHIN_S, check=False,
            **given,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, f"left with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str, **given: Any) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        given = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given}
        return subprocess.Popen(
            [RIGHTSIZE, *words], cwd=self.folder, env=self.env, text=True, start_new_session=True, **given
        )

    @property
    def env(self) -> dict[str, str]:
        """The environment of the commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RIGHTSIZE_")}
        return {
            **kept,
            "RIGHTSIZE_DATA_DIR": str(self.data_dir),
            "RIGHTSIZE_CONFIG": str(FLEET),
            "r": RIGHTSIZE,
            "COLUMNS": "200",
        }

    def rows(self, name: str, *texts: str) -> Path:
        """A file with a chat row for each text."""
        path = self.folder / name
        lines = [orjson.dumps(row(f"row-{number}", chat(text))) for number, text in enumerate(texts)]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    def batch(self, *texts: str) -> str:
        """The id of a batch that has ended."""
        path = self.rows("batch.jsonl", *texts)
        done = self.run("submit", str(path), "--wait", "--json")
        return str(orjson.loads(done.stdout)["id"])


def loaded(process: subprocess.Popen[str], library: str) -> None:
    """Wait until a process has loaded a library: it is in the midst of its imports then."""

    def look() -> bool:
        assert process.poll() is None, process.communicate()
        return library in Path(f"/proc/{process.pid}/maps").read_text("utf-8")

    until(look, 60, f"{library} is loaded")


def said(process: subprocess.Popen[str], words: str) -> str:
    """Read a process's standard error until it has said the words; all that was read."""
    return _heard(process, process.stderr, words)


def shown(process: subprocess.Popen[str], words: str) -> str:
    """The same for its standard output."""
    return _heard(process, process.stdout, words)


def _heard(process: subprocess.Popen[str], stream: IO[str] | None, words: str) -> str:
    assert stream is not None
    late = threading.Timer(WITHIN_S, process.kill)  # a process that never says it must not hold up the tests
    late.start()
    text = ""
    try:
        while words not in text:
            line = stream.readline()
            assert line, f"it ended with {process.wait(WITHIN_S)} before it said {words!r}:\n{text}"
            text += line
    finally:
        late.cancel()
    return text


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Press Ctrl-C, and see how it ends: code, output, what it said."""
    os.killpg(process.pid, signal.SIGINT)
    output, told = process.communicate(timeout=WITHIN_S)
    assert "Traceback" not in told, told
    return process.returncode, output, told


def json_lines(text: str | bytes) -> Sequence[dict[str, Any]]:
    """The objects of a JSONL text."""
    return [orjson.loads(line) for line in text.splitlines()]
