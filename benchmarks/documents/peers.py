"""Other readers of documents, each in an environment of its own, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.processes import Process
from benchmarks.report import FOLDER
from benchmarks.stack import ROOT

PROGRAM: Final = Path(__file__).with_name("alone.py")
PINS: Final[dict[str, tuple[str, ...]]] = {
    "markitdown": ("markitdown[pdf,docx,pptx,xlsx]==0.1.9", "pdfplumber==0.11.10"),
    "docling": ("docling==2.143.0",),
}
"""By environment. markitdown and pdfplumber read PDFs with the same library below, and share one."""
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME")
"""All that they see of our environment."""
QUIET: Final = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def environment(name: str) -> Path:
    """The folder of an environment's programs, made on first use; raises CalledProcessError where it cannot be installed."""
    pins, folder = PINS[name], FOLDER / f"venv-{name}"
    stamp = folder / ".pins"
    if not stamp.is_file() or stamp.read_text().split() != list(pins):
        print("Setting up", *pins, "in", folder.relative_to(ROOT), flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--only-binary", ":all:", *pins], check=True)
        stamp.write_text(" ".join(pins))
    return folder / "bin"


@contextmanager
def running(name: str, cpu: int, folder: Path) -> Iterator[Process]:
    """A reader on one core: `ours`, or a peer by its name."""
    if name == "ours":
        python, env = Path(sys.executable), {**os.environ, "PYTHONPATH": str(ROOT)}
    else:
        python = environment("docling" if name == "docling" else "markitdown") / "python"
        env = {key: os.environ[key] for key in KEPT if key in os.environ} | QUIET
    argv = [str(python), str(PROGRAM), name, str(cpu)]
    process = Process(name, argv, env, folder / f"{name}.log", talks=True, cwd=folder)
    try:
        yield process
    finally:
        process.stop()


def why_not(process: Process, lines: int = 1) -> str:
    """What a reader said last before it ended."""
    said: Sequence[str] = [line for line in process.log.read_text(errors="replace").splitlines() if line.strip()]
    return " ".join(said[-lines:])[:300]
