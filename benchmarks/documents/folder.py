"""A folder of ten thousand small files: from the command's start until every job is queued, and what it does to memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.documents import made
from benchmarks.documents.running import Service, service
from benchmarks.processes import Peak
from benchmarks.report import Row, Scale, at_most, told
from benchmarks.stack import fleet
from orchestrator.contracts import JobState

FILES: Final = 10_000
FEWER: Final = 10
"""So many times fewer files are the measure of what memory should be."""
KINDS: Final = ("txt", "md", "html", "txt", "eml")
SIZE: Final = 3
"""Paragraphs of each: about a kilobyte."""
SECONDS: Final = 60.0
FLAT: Final = 1.2
"""Memory of the command at ten times the files."""
GROWTH_MB: Final = 150.0
QUEUED: Final = """
    SELECT count(*) FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE b.public_id = %s AND j.state = %s
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One folder's way into the queue."""

    files: int
    command_s: float
    """Until the command ended: all is read and uploaded, and the batch is made."""
    queued_s: float
    memory_bytes: int
    """Of the command and its readers."""
    api_mb: float
    orchestrator_mb: float
    cpu_s: Mapping[str, float]
    """Of each part."""


def measure(scale: Scale) -> list[Row]:
    count = scale.of(FILES)
    with tempfile.TemporaryDirectory(prefix="rs-bench-documents-") as name, service(fleet(), worker=False) as running:
        runs = []
        for files in (count // FEWER, count):
            folder = Path(name, str(files))
            made.many(folder, files, KINDS, SIZE, title=f"Of {files}")
            runs.append(_run(running, folder, files))
    return rows(*runs)


def rows(few: Run, all_of_them: Run) -> list[Row]:
    one = all_of_them
    shape = f"{one.files} files of our own making ({', '.join(sorted(set(KINDS)))}), about 1 kB each; nothing runs them meanwhile"
    return [
        at_most("folder: from the command to all queued", one.queued_s, SECONDS, "s",
                note=f"{shape}; the command itself took {one.command_s:.1f} s"),
        told("folder: files a second", one.files / one.queued_s, "1/s"),
        told("folder: CPU of a file, all parts", 1000 * sum(one.cpu_s.values()) / one.files, "ms",
             note=", ".join(f"{part} {1000 * seconds / one.files:.2f}" for part, seconds in one.cpu_s.items())),
        at_most(f"folder: memory of the command, of that with {few.files} files", one.memory_bytes / few.memory_bytes, FLAT, "x",
                baseline=few.memory_bytes / 1e6,
                note=f"baseline in MB; {one.memory_bytes / 1e6:.0f} MB with all: its own and that of its readers at their highest"),
        at_most("folder: memory growth of the API", one.api_mb, GROWTH_MB, "MB", note=f"{few.api_mb:.0f} MB with {few.files} files before"),
        at_most("folder: memory growth of the orchestrator", one.orchestrator_mb, GROWTH_MB, "MB",
                note=f"{few.orchestrator_mb:.0f} MB with {few.files} files before"),
    ]  # fmt: skip


def _run(running: Service, folder: Path, files: int) -> Run:
    peaks = Peak(running.api.pid), Peak(running.orchestrator.pid)
    before = running.cpu_s()
    command = running.submit(folder)
    batch = command.batch()
    command_s = command.seconds
    with running.client() as client:
        while client.batch(batch["id"])["status"] == "validating":
            time.sleep(0.05)
    queued_s = command.seconds
    queued = running.one(QUEUED, batch["id"].removeprefix("batch_"), JobState.QUEUED)
    assert queued == files, f"{queued} jobs are queued, of {files} files"
    used = {part: seconds - before[part] for part, seconds in running.cpu_s().items()}
    return Run(
        files, command_s, queued_s, command.tree.most_bytes, peaks[0].grown_mb(), peaks[1].grown_mb(),
        {"command": command.tree.cpu_s, **used},
    )  # fmt: skip
