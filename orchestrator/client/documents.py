"""Documents of a task that has a definition: read on this machine, asked there, and only where no result is there yet."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from orchestrator.client.async_batches import AsyncBatches
from orchestrator.client.batch import AsyncBatch, Batch
from orchestrator.client.batches import Batches
from orchestrator.client.shapes import Estimate
from orchestrator.client.tasks import AsyncTasks, Tasks, with_schemas
from orchestrator.errors import InvalidRequest

if TYPE_CHECKING:  # whoever hands in no documents loads nothing that reads them
    from orchestrator.documents.inputs import Input, Wanted
    from orchestrator.documents.work import Counts
    from orchestrator.webhooks.networks import Networks

Known = Callable[[Sequence[str], int | None], Mapping[str, Any]]
"""Asks the service which hashes were answered before, by a version of the task; None where it is not known yet."""
Pick = Callable[["Iterator[Input]"], "Iterator[Input]"]
"""Which of the documents are taken."""
Tell = Callable[[Iterator[bytes], "Counts"], Iterator[bytes]]
"""Hears how far the reading has come, and passes the rows on."""


class DocumentOptions(TypedDict, total=False):
    """What may be said about documents besides where they are and their task."""

    parameters: Mapping[str, Any]
    """Of the task, such as `labels`, or `schema` (JSON Schema, or a pydantic model)."""
    rightsize: Mapping[str, Any]
    """Hints for all of them, such as `tier` or `max_cost_usd`."""
    refresh: bool
    """Whether also those are run that were answered before."""
    password: str | None
    """Of documents that are locked."""
    text_column: str | None
    """Each row of the table is a document: its text stands in this column."""
    path_column: str | None
    """The same, where this column names a file below the table's folder."""
    id_column: str | None
    """What the rows' documents are called."""
    hosts: Sequence[str]
    """Whose URLs are fetched; without one none is."""
    completion_window: str
    metadata: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class DocumentWork:
    """Documents, a task, and what is given with it."""

    wanted: Wanted
    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    refresh: bool = False
    password: str | None = None
    note: Callable[[dict[str, Any]], None] = lambda _: None
    """Gets a line of the manifest for each document, as soon as it is known."""
    pick: Pick = iter
    networks: Networks = ()
    """Private networks from which documents may be fetched."""

    @classmethod
    def of(cls, place: str | os.PathLike[str], task: str, options: DocumentOptions) -> DocumentWork:
        """The work that a caller's options describe; raises TypeError for one that there is not."""
        if unknown := options.keys() - DocumentOptions.__annotations__.keys():
            raise TypeError(f"unknown options {sorted(unknown)}; hints such as max_cost_usd go into `rightsize`")
        from orchestrator.documents.inputs import Wanted

        hosts = tuple(options.get("hosts") or ())
        wanted = Wanted(
            os.fspath(place), options.get("text_column"), options.get("path_column"), options.get("id_column"), hosts
        )
        return cls(
            wanted, task, with_schemas(options.get("parameters") or {}), options.get("rightsize") or {},
            refresh=options.get("refresh", False), password=options.get("password"),
        )  # fmt: skip

    @property
    def filename(self) -> str:
        """What the uploaded file is called."""
        from orchestrator.documents.inputs import name_of

        return f"{name_of(self.wanted)}.jsonl"

    def batch_hints(self, version: int) -> dict[str, Any]:
        """The hints of the batch."""
        hints = {**self.hints, "task": self.task, "task_version": version, "on_invalid_row": "report"}
        return {**hints, "refresh": True} if self.refresh else hints


@dataclass(frozen=True, slots=True)
class Spooled:
    """Rows that were made of documents."""

    file: Path
    counts: Counts
    version: int
    """Of the task."""


@contextmanager
def spooled(work: DocumentWork, known: Known, tell: Tell = lambda lines, _: lines) -> Iterator[Spooled]:
    """The rows of some documents, in a file that goes when the block ends.

    Reading takes its time, and a service does not wait long for the next piece of an upload. Raises InvalidRequest where there is
    nothing, and what the service says of the task.
    """
    with tempfile.TemporaryDirectory(prefix="rightsize-") as folder:
        yield read_into(Path(folder), work, known, tell)


def read_into(folder: Path, work: DocumentWork, known: Known, tell: Tell, stop: Stop | None = None) -> Spooled:
    """Read what has no result yet, and write all of it into a file in a folder; `stop` ends it from another thread."""
    from orchestrator.documents.apart.pool import Pool
    from orchestrator.documents.choice import Policy
    from orchestrator.documents.inputs import check, inputs_of
    from orchestrator.documents.reading import Limits
    from orchestrator.documents.work import Counts, Documents
    from orchestrator.webhooks.fetch import Fetcher

    check(work.wanted)
    first = known([], None)
    version, reading = int(first["task_version"]), first["reading"]
    counts = Counts()

    def answered(hashes: Sequence[str]) -> set[str]:
        return set() if work.refresh or not hashes else set(known(hashes, version)["known"])

    at_once = os.cpu_count() or 1
    policy, limits = Policy(reading["ocr_confidence"], reading["needs_eyes"]), Limits(password=work.password)
    file, copies = folder / "rows.jsonl", folder / "copies"
    copies.mkdir()
    with Pool(children=at_once) as pool, file.open("wb") as rows:
        if stop is not None:
            stop.ends(pool.close)
        documents = Documents(pool, at_once, answered, policy, limits, work.note, counts)
        inputs = work.pick(inputs_of(work.wanted, copies, Fetcher(work.networks)))
        for line in tell(documents.lines(inputs), counts):
            rows.write(line + b"\n")
    if not counts.found:
        raise InvalidRequest(f"{work.wanted.place!r} holds no files.")
    return Spooled(file, counts, version)


class Stop:
    """Ends a reading from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        self._is_set = False

    def ends(self, end: Callable[[], None]) -> None:
        """What ends it; called at once where it was stopped before it began."""
        with self._lock:
            self._end = end
            is_late = self._is_set
        if is_late:
            end()

    def set(self) -> None:
        """End it: its processes at once, and so those who wait for them."""
        with self._lock:
            self._is_set, end = True, self._end
        if end is not None:
            end()


class DocumentVerbs(Batches, Tasks):
    """Hands in documents."""

    def submit_documents(
        self, place: str | os.PathLike[str], task: str, **options: Unpack[DocumentOptions]
    ) -> Batch:  # fmt: skip
        """Read documents and hand them in for a task: a file, a folder, an archive, a pattern, a table, `s3://...` or a URL.

        What was answered before is neither read nor run. Raises InvalidRequest for what can never be read; a document that cannot be
        read is a line of the error file. The extra `documents` reads PDF, office files and scans.
        """
        work = DocumentWork.of(place, task, options)
        with spooled(work, self.known_of(work)) as made:
            file = self.upload(made.file, filename=work.filename)
        batch = self.create_batch(
            file["id"], completion_window=options.get("completion_window", "24h"), metadata=options.get("metadata"),
            rightsize=work.batch_hints(made.version),
        )  # fmt: skip
        return Batch(self, batch)

    def estimate_documents(
        self, place: str | os.PathLike[str], task: str, **options: Unpack[DocumentOptions]
    ) -> Estimate:  # fmt: skip
        """What the same documents would cost, use and take; they are read, and none is run."""
        work = DocumentWork.of(place, task, options)
        with spooled(work, self.known_of(work)) as made, made.file.open("rb") as lines:
            return self.estimate(iter(lines), rightsize=work.batch_hints(made.version))

    def known_of(self, work: DocumentWork) -> Known:
        """Asks which of some documents were answered before."""
        return lambda hashes, version: self.known_documents(
            work.task, hashes, version=version, parameters=None if version else work.parameters or None, rightsize=work.hints
        )  # fmt: skip


class AsyncDocumentVerbs(AsyncBatches, AsyncTasks):
    """The same, for asynchronous code: documents are read on a thread."""

    async def submit_documents(
        self, place: str | os.PathLike[str], task: str, **options: Unpack[DocumentOptions]
    ) -> AsyncBatch:  # fmt: skip
        """Read documents and hand them in for a task; see `DocumentVerbs.submit_documents`."""
        work = DocumentWork.of(place, task, options)
        with tempfile.TemporaryDirectory(prefix="rightsize-") as folder:
            made = await self._read(Path(folder), work)
            file = await self.upload(made.file, filename=work.filename)
        batch = await self.create_batch(
            file["id"], completion_window=options.get("completion_window", "24h"), metadata=options.get("metadata"),
            rightsize=work.batch_hints(made.version),
        )  # fmt: skip
        return AsyncBatch(self, batch)

    async def estimate_documents(
        self, place: str | os.PathLike[str], task: str, **options: Unpack[DocumentOptions]
    ) -> Estimate:  # fmt: skip
        """What the same documents would cost, use and take; see `DocumentVerbs.estimate_documents`."""
        work = DocumentWork.of(place, task, options)
        with tempfile.TemporaryDirectory(prefix="rightsize-") as folder:
            made = await self._read(Path(folder), work)
            with made.file.open("rb") as lines:
                return await self.estimate(iter(lines), rightsize=work.batch_hints(made.version))

    async def _read(self, folder: Path, work: DocumentWork) -> Spooled:
        """Read on a thread, which ends with this call, also where it is cancelled: the folder goes right after."""
        stop = Stop()
        reading = asyncio.ensure_future(
            asyncio.to_thread(read_into, folder, work, self.known_of(work), lambda lines, _: lines, stop)
        )
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            stop.set()
            with suppress(Exception):
                await reading
            raise

    def known_of(self, work: DocumentWork) -> Known:
        """Asks on the loop, for a thread that waits for it."""
        loop = asyncio.get_running_loop()

        def known(hashes: Sequence[str], version: int | None) -> Mapping[str, Any]:
            asked = self.known_documents(
                work.task, hashes, version=version, parameters=None if version else work.parameters or None, rightsize=work.hints
            )  # fmt: skip
            return asyncio.run_coroutine_threadsafe(asked, loop).result()

        return known
