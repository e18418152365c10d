"""Batches: handed in, estimated, followed, steered, and read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Unpack, cast

from orchestrator.client import batch_calls as calls
from orchestrator.client.batch import Batch
from orchestrator.client.call import CHAT, Thing, get, path_of
from orchestrator.client.files import Files, content_path, form_for
from orchestrator.client.following import Following, Looks
from orchestrator.client.lines import Lines, written
from orchestrator.client.ordering import Names, Spool, result_files
from orchestrator.client.review import PAGE, Overlay, reviewed_path
from orchestrator.client.rows import Options, SubmitOptions, Wanted, Work, filename_of, source_of
from orchestrator.client.shapes import Estimate, Progress
from orchestrator.errors import Busy, NotFound, Refused, RightsizeError


class Batches(Files):
    """Makes batches, and reads what became of them."""

    def submit(self, work: Work, **options: Unpack[SubmitOptions]) -> Batch:
        """Hand in a batch, one job for each row: of requests, rows or texts as they are made, or of a file or folder by its path.

        Nothing is ever in memory whole. What is wrong with a row becomes an error line of its own, unless `on_invalid_row` is
        `fail`. Options: `task`, `tier`, `stakes`, `instructions`, `max_cost_usd`, `endpoint`, `completion_window`, `metadata`,
        and further hints as `rightsize`.
        """
        wanted = Wanted(**options)
        source = source_of(work, wanted)
        file = self._transport.upload(form_for(filename_of(work), "batch", None), source)
        made = self.create_batch(
            file["id"], endpoint=wanted.endpoint, completion_window=wanted.completion_window, metadata=wanted.metadata,
            rightsize=wanted.hints(work),
        )  # fmt: skip
        return Batch(self, made)

    def estimate(self, work: Work, **options: Unpack[Options]) -> Estimate:
        """What the same work would cost, use and take as a batch, with an interval that holds four times in five; runs nothing."""
        wanted = Wanted(**options)
        source = source_of(work, wanted)
        form = form_for(filename_of(work), "batch", calls.ESTIMATED_FOR_S)
        file_id: str = self._transport.upload(form, source)["id"]
        try:
            return self.estimate_file(file_id, endpoint=wanted.endpoint, rightsize=wanted.hints(work))
        finally:
            with suppress(RightsizeError):  # it expires by itself
                self.delete_file(file_id)

    def estimate_file(
        self, input_file_id: str, *, endpoint: str = CHAT, rightsize: Mapping[str, Any] | None = None
    ) -> Estimate:
        """The same for a file that was uploaded: `create_batch` takes it afterwards."""
        return cast("Estimate", self._transport.answer(calls.estimate_call(input_file_id, endpoint, rightsize)))

    def create_batch(
        self, input_file_id: str, *, endpoint: str = CHAT, completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None, rightsize: Mapping[str, Any] | None = None, key: str | None = None,
    ) -> Thing:  # fmt: skip
        """Make a batch of an uploaded file. A lost answer makes no second one: the request carries an idempotency key.

        `rightsize` holds hints for every row, `max_cost_usd` for the whole, and `on_invalid_row` (fail or report).
        """
        call = calls.create_call(input_file_id, endpoint, completion_window, metadata, rightsize, key)
        return self._transport.answer(call)

    def batch(self, batch_id: str) -> Thing:
        """A batch's object."""
        return self._transport.answer(calls.batch_call(batch_id))

    def batch_of(self, batch_id: str) -> Batch:
        """A batch that was made before, as `submit` gives it."""
        return Batch(self, self.batch(batch_id))

    def batches(self, *, page: int = 100) -> Iterator[Thing]:
        """Every batch of the project, the newest first."""
        return self._transport.listed(calls.BATCHES, page)

    def cancel(self, batch_id: str) -> Thing:
        """Cancel a batch; cancelling twice is fine."""
        return self._transport.answer(calls.step_call(batch_id, "cancel"))

    def pause(self, batch_id: str) -> Thing:
        """Begin nothing more of a batch; what runs just now ends."""
        return self._transport.answer(calls.step_call(batch_id, "pause"))

    def resume(self, batch_id: str, *, max_cost_usd: str | None = None) -> Thing:
        """Go on with a batch that was paused, or that came to its cap: `max_cost_usd` raises that."""
        return self._transport.answer(calls.resume_call(batch_id, max_cost_usd))

    def retry(
        self, batch_id: str, *, tier: str = "up", only: str | None = None, completion_window: str = "24h", key: str | None = None
    ) -> Thing:  # fmt: skip
        """Run the failed rows of a batch again, one tier up or on a named one; returns the batch that does so."""
        return self._transport.answer(calls.retry_call(batch_id, tier, only, completion_window, key))

    def wait(
        self, batch_id: str, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None
    ) -> Thing:
        """Wait until a batch has ended, and return it; `on_progress` sees it on every look.

        A service that is away in between is waited for. After `within_s` the batch comes back as it stands then.
        """
        looks, patience = Looks(within_s), self._transport.waiting()
        while True:
            try:
                batch = self.batch(batch_id)
            except Busy as error:
                time.sleep(looks.away_s(patience, error))
                continue
            patience.heard()
            if on_progress is not None:
                on_progress(batch)
            if looks.is_over(batch):
                return batch
            time.sleep(looks.pause_s())

    def progress(self, batch_id: str) -> Iterator[Progress]:
        """Where a batch stands, whenever that changes, until it has ended; after a lost connection it goes on where it was."""
        way = Following(batch_id, self._transport.waiting())
        while not way.ended:
            try:
                if way.by_events:
                    with self._transport.opened(way.call) as response:
                        for event in way.opened(response):
                            if (new := way.heard(event)) is not None:
                                yield new
                    way.broke_off()
                elif (new := way.looked(self._transport.answer(way.look))) is not None:
                    yield new
            except (Busy, Refused) as error:
                way.lost(error)
            if not way.ended:
                time.sleep(way.pause_s)

    def results(self, batch: Thing | str, *, in_order: bool = False) -> Iterator[Thing]:
        """A line for each row of a batch that has ended: what succeeded, then what did not; none where it has none yet.

        With `in_order` they come as the rows were handed in, by way of a temporary file. Of a batch that runs failed rows
        again they are those of both. What a person corrected stands there as it was corrected.
        """
        found = self.batch(batch) if isinstance(batch, str) else batch
        seen = self.overlay(found)
        if in_order and result_files(found):
            yield from map(seen.line, self._ordered(found))
            return
        for file_id in result_files(found):
            yield from map(seen.line, self.lines(file_id))

    def overlay(self, batch: Thing) -> Overlay:
        """What people said of the results of a batch; for whoever reads its files by himself."""
        return Overlay.of(batch, self._transport.listed(reviewed_path(batch["id"]), PAGE))

    def _ordered(self, batch: Thing) -> Iterator[Thing]:
        with Spool() as spool:
            for file_id in result_files(batch):
                lines = Lines()
                for piece in self.content(file_id):
                    spool.put(written(lines.feed(piece)))
                spool.put(written(lines.end()))
            names = Names()
            for piece in self._input_of(batch):
                yield from spool.take(names.feed(piece))
            yield from spool.take(names.end())
            while rest := spool.rest():
                yield from rest

    def _input_of(self, batch: Thing) -> Iterator[bytes]:
        """The file that has the order: that of the first batch, where this one runs rows of it again."""
        while earlier := batch["rightsize"].get("retry_of"):
            batch = self.batch(earlier)
        try:
            self._transport.answer(get(path_of("files", batch["input_file_id"])))
        except NotFound:
            raise calls.without_order(batch["id"]) from None
        yield from self._transport.pieces(content_path(batch["input_file_id"]))
