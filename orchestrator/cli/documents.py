"""Documents of a task that has a definition, as the commands hand them in."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
import typer

from orchestrator.cli.connect import settings_of
from orchestrator.cli.display import err, note
from orchestrator.cli.naming import is_plain
from orchestrator.client import Estimate, Rightsize
from orchestrator.client.documents import DocumentWork, Spooled, Tell, spooled
from orchestrator.documents.definitions import schema_in
from orchestrator.documents.inputs import Wanted
from orchestrator.documents.rows import ROW_SUFFIXES
from orchestrator.documents.work import Counts
from orchestrator.errors import InvalidRequest, NotFound

EVERY: Final = 50
"""Documents between two words of how far the reading has come."""


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
        _check_spelling(client, task)
        return False
    return True


def _check_spelling(client: Rightsize, task: str) -> None:
    """Refuse a name that is hardly another than that of a task with a definition: without one the files are sent as they are."""
    names = [str(one["name"]) for one in client.tasks()]
    if near := difflib.get_close_matches(task, names, n=1, cutoff=0.75):
        raise InvalidRequest(f"There is no task {task!r}. Did you mean {near[0]!r}? `rightsize tasks list` shows them.")


def check_is_documents(work: DocumentWork, manifest: Path | None = None) -> None:
    """Refuse what is for documents alone where the task has no definition, or the rows are requests already."""
    if not is_plain(work.wanted):
        raise InvalidRequest(
            "Patterns, tables with columns, buckets and URLs are for documents of a task that is defined: give --task one of "
            "`rightsize tasks list`."
        )
    if work.parameters or work.refresh or work.pick is not iter or manifest is not None:
        raise InvalidRequest(
            "--labels, --schema, --question, --set, --sample, --manifest and --refresh are for documents of a task that is defined: give --task "
            "one of `rightsize tasks list`, and files that are no JSONL."
        )


def submit_documents(
    client: Rightsize, work: DocumentWork, deadline: str, manifest: Path | None, *, quiet: bool
) -> dict[str, Any]:  # fmt: skip
    """Read what has no result yet, hand all of it in as one batch, and return the batch."""
    with _manifest(manifest) as told, _read(client, replace(work, note=told), quiet=quiet) as made:
        file = client.upload(made.file, filename=work.filename)
    return client.create_batch(file["id"], completion_window=deadline, rightsize=work.batch_hints(made.version))


def estimate_documents(client: Rightsize, work: DocumentWork, *, quiet: bool) -> Estimate:
    """Read what has no result yet, and tell what it would cost; nothing is run, and nothing is kept of it."""
    with _read(client, work, quiet=quiet) as made, made.file.open("rb") as lines:
        return client.estimate(iter(lines), rightsize=work.batch_hints(made.version))


def schema_of(client: Rightsize, work: DocumentWork) -> dict[str, Any] | None:
    """The form of a task's answers, where it has one: what was given with it, or its own."""
    schema: dict[str, Any] | None = work.parameters.get("schema") or client.task(work.task)["definition"].get(
        "output_schema"
    )
    return schema


@contextmanager
def _read(client: Rightsize, work: DocumentWork, *, quiet: bool) -> Iterator[Spooled]:
    """The rows of the documents, with progress and a last word for people."""
    fetching = replace(work, networks=settings_of().networks)
    with spooled(fetching, client.known_of(work), _told(quiet=quiet)) as made:
        if not quiet:
            note(words(made.counts))
        yield made


@contextmanager
def _manifest(path: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes a line for each input, as soon as it is known; nothing where none is wanted."""
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("wb") as file:

            def note_one(one: Mapping[str, Any]) -> None:
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


def _told(*, quiet: bool) -> Tell:
    """Passes rows on, with a word now and then of how far the reading has come."""

    def shown(lines: Iterator[bytes], counts: Counts) -> Iterator[bytes]:
        with err.status("Reading...") as status:
            for number, line in enumerate(lines, 1):
                if number % EVERY == 0:
                    status.update(f"Reading: {words(counts)}")
                yield line

    return (lambda lines, _: lines) if quiet or not err.is_terminal else shown
