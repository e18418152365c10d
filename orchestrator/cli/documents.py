"""Documents of a task that has a definition: read here, asked there, and only where no result is there yet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import typer

from orchestrator.cli.connect import settings_of
from orchestrator.cli.display import err, note
from orchestrator.cli.naming import is_plain
from orchestrator.client import Estimate, Rightsize
from orchestrator.documents.choice import Policy
from orchestrator.documents.definitions import schema_in
from orchestrator.documents.inputs import Input, Wanted, inputs_of, name_of
from orchestrator.documents.pool import Pool
from orchestrator.documents.reading import Limits
from orchestrator.documents.rows import ROW_SUFFIXES
from orchestrator.documents.work import Counts, Documents
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.webhooks.fetch import Fetcher

EVERY: Final = 50
"""Documents between two words of how far the reading has come."""

Pick = Callable[[Iterator[Input]], Iterator[Input]]
"""Which of the documents are taken."""


@dataclass(frozen=True, slots=True)
class TaskWork:
    """Documents, a task, and what is given with it."""

    wanted: Wanted
    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    refresh: bool = False
    password: str | None = None
    manifest: Path | None = None
    pick: Pick = iter

    @property
    def filename(self) -> str:
        """What the uploaded file is called."""
        return f"{name_of(self.wanted)}.jsonl"


@dataclass(frozen=True, slots=True)
class Spooled:
    """Rows that were made of documents."""

    file: Path
    counts: Counts
    version: int
    """Of the task."""


def parameters_of(
    labels: str | None, schema: Path | None, questions: Sequence[str] | None, given: Sequence[str] | None
) -> dict[str, Any]:
    """A task's parameters from the flags of a command."""
    found: dict[str, Any] = {}
    if labels is not None:
        found["labels"] = [one.strip() for one in labels.split(",") if one.strip()]
    if schema is not None:
        found["schema"] = schema_in(schema)
    if questions:
        found["questions"] = list(questions)
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{one!r}: give NAME=TEXT.", param_hint="--set")
        found[name.strip()] = value
    return found


def is_defined(client: Rightsize, task: str | None, wanted: Wanted) -> bool:
    """Whether something is to be read as documents: its task has a definition, and it holds no rows that are requests already."""
    if task is None or (is_plain(wanted) and Path(wanted.place).suffix.lower() in ROW_SUFFIXES):
        return False
    try:
        client.task(task)
    except NotFound:
        return False
    return True


def check_is_documents(work: TaskWork) -> None:
    """Refuse what is for documents alone where the task has no definition, or the rows are requests already."""
    if not is_plain(work.wanted):
        raise InvalidRequest(
            "Patterns, tables with columns, buckets and URLs are for documents of a task that is defined: give --task one of "
            "`rightsize tasks list`."
        )
    if work.parameters or work.refresh or work.pick is not iter:
        raise InvalidRequest(
            "--labels, --schema, --question, --set, --sample and --refresh are for documents of a task that is defined: give --task "
            "one of `rightsize tasks list`, and files that are no JSONL."
        )


def submit_documents(client: Rightsize, work: TaskWork, deadline: str, *, quiet: bool) -> dict[str, Any]:
    """Read what has no result yet, hand all of it in as one batch, and return the batch."""
    with spooled(client, work, quiet=quiet) as made:
        file = client.upload(made.file, filename=work.filename)
    hints = {**work.hints, "task": work.task, "task_version": made.version, "on_invalid_row": "report"}
    if work.refresh:
        hints["refresh"] = True
    if not quiet:
        note(words(made.counts))
    return client.create_batch(file["id"], completion_window=deadline, rightsize=hints)


def estimate_documents(client: Rightsize, work: TaskWork, *, quiet: bool) -> Estimate:
    """Read what has no result yet, and tell what it would cost; nothing is run, and nothing is kept of it."""
    with spooled(client, work, quiet=quiet) as made:
        if not quiet:
            note(words(made.counts))
        hints = {**work.hints, "task": work.task, "task_version": made.version, "on_invalid_row": "report"}
        with made.file.open("rb") as lines:
            return client.estimate(iter(lines), rightsize=hints)


@contextmanager
def spooled(client: Rightsize, work: TaskWork, *, quiet: bool) -> Iterator[Spooled]:
    """The rows of some documents, in a file that goes when the block ends.

    Reading takes its time, and a service does not wait long for the next piece of an upload.
    """
    first = client.known_documents(work.task, [], parameters=work.parameters or None, rightsize=work.hints)
    version, reading = first["task_version"], first["reading"]
    counts = Counts()

    def ask(hashes: Sequence[str]) -> set[str]:
        if work.refresh or not hashes:
            return set()
        return set(client.known_documents(work.task, hashes, version=version, rightsize=work.hints)["known"])

    at_once = os.cpu_count() or 1
    policy = Policy(reading["ocr_confidence"], reading["needs_eyes"])
    with (
        tempfile.TemporaryDirectory(prefix="rightsize-") as folder,
        Pool(children=at_once) as pool,
        _manifest(work.manifest) as told,
    ):
        documents = Documents(pool, at_once, ask, policy, Limits(password=work.password), told, counts)
        file, copies = Path(folder) / "rows.jsonl", Path(folder) / "copies"
        copies.mkdir()
        inputs = work.pick(inputs_of(work.wanted, copies, Fetcher(settings_of().networks)))
        with file.open("wb") as rows:
            for line in _shown(documents.lines(inputs), counts, quiet=quiet):
                rows.write(line)
        if not counts.found:
            raise InvalidRequest(f"{work.wanted.place!r} holds no files.")
        yield Spooled(file, counts, version)


def schema_of(client: Rightsize, work: TaskWork) -> dict[str, Any] | None:
    """The form of a task's answers, where it has one: what was given with it, or its own."""
    schema: dict[str, Any] | None = work.parameters.get("schema") or client.task(work.task)["definition"].get(
        "output_schema"
    )
    return schema


@contextmanager
def _manifest(path: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes a line for each input, as soon as it is known; nothing where none is wanted."""
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("wb") as file:

            def note_one(one: dict[str, Any]) -> None:
                file.write(orjson.dumps(one) + b"\n")

            yield note_one
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}: {error.strerror}.") from None


def words(counts: Counts) -> str:
    """What became of the documents, for people."""
    parts = [f"{counts.found:,} documents: {counts.read:,} read ({counts.pages:,} pages)"]
    if counts.looked_at:
        parts.append(f"{counts.looked_at:,} pages to be looked at")
    if counts.reused:
        parts.append(f"{counts.reused:,} answered before, and not run again")
    if counts.refused:
        parts.append(f"{counts.refused:,} cannot be read")
    return ", ".join(parts) + "."


def _shown(lines: Iterator[bytes], counts: Counts, *, quiet: bool) -> Iterator[bytes]:
    """The lines, with a word now and then of how far the reading has come."""
    if quiet or not err.is_terminal:
        yield from (line + b"\n" for line in lines)
        return
    with err.status("Reading...") as status:
        for number, line in enumerate(lines, 1):
            if number % EVERY == 0:
                status.update(f"Reading: {words(counts)}")
            yield line + b"\n"
