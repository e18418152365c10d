"""Batches for asynchronous code: the same verbs as `Batches`, over the same calls, states and readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Unpack, cast

from orchestrator.client import batch_calls as calls
from orchestrator.client.batch import AsyncBatch
from orchestrator.client.call import CHAT, Thing, get, path_of
from orchestrator.client.files import AsyncFiles, content_path, form_for
from orchestrator.client.following import Following, Looks
from orchestrator.client.lines import Lines, written
from orchestrator.client.ordering import Names, Spool, result_files
from orchestrator.client.review import PAGE, Overlay, reviewed_path
from orchestrator.client.rows import AsyncWork, Options, SubmitOptions, Wanted, async_source_of, filename_of
from orchestrator.client.shapes import Estimate, Progress
from orchestrator.errors import Busy, NotFound, Refused, RightsizeError


class AsyncBatches(AsyncFiles):
    """Makes batches, and reads what became of them."""

    async def submit(self, work: AsyncWork, **options: Unpack[SubmitOptions]) -> AsyncBatch:
        """Hand in a batch; items may come from asynchronous code too. See `Batches.submit`."""
        wanted = Wanted(**options)
        source = async_source_of(work, wanted)
        file = await self._transport.upload(form_for(filename_of(work), "batch", None), source)
        made = await self.create_batch(
            file["id"], endpoint=wanted.endpoint, completion_window=wanted.completion_window, metadata=wanted.metadata,
            rightsize=wanted.hints(work),
        )  # fmt: skip
        return AsyncBatch(self, made)

    async def estimate(self, work: AsyncWork, **options: Unpack[Options]) -> Estimate:
        """What the same work would cost, use and take as a batch; runs nothing."""
        wanted = Wanted(**options)
        source = async_source_of(work, wanted)
        form = form_for(filename_of(work), "batch", calls.ESTIMATED_FOR_S)
        file_id: str = (await self._transport.upload(form, source))["id"]
        try:
            return await self.estimate_file(file_id, endpoint=wanted.endpoint, rightsize=wanted.hints(work))
        finally:
            with suppress(RightsizeError):  # it expires by itself
                await self.delete_file(file_id)

    async def estimate_file(
        self, input_file_id: str, *, endpoint: str = CHAT, rightsize: Mapping[str, Any] | None = None
    ) -> Estimate:
        """The same for a file that was uploaded: `create_batch` takes it afterwards."""
        return cast("Estimate", await self._transport.answer(calls.estimate_call(input_file_id, endpoint, rightsize)))

    async def create_batch(
        self, input_file_id: str, *, endpoint: str = CHAT, completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None, rightsize: Mapping[str, Any] | None = None, key: str | None = None,
    ) -> Thing:  # fmt: skip
        """Make a batch of an uploaded file; see `Batches.create_batch`."""
        call = calls.create_call(input_file_id, endpoint, completion_window, metadata, rightsize, key)
        return await self._transport.answer(call)

    async def batch(self, batch_id: str) -> Thing:
        """A batch's object."""
        return await self._transport.answer(calls.batch_call(batch_id))

    async def batch_of(self, batch_id: str) -> AsyncBatch:
        """A batch that was made before, as `submit` gives it."""
        return AsyncBatch(self, await self.batch(batch_id))

    def batches(self, *, page: int = 100) -> AsyncIterator[Thing]:
        """Every batch of the project, the newest first."""
        return self._transport.listed(calls.BATCHES, page)

    async def cancel(self, batch_id: str) -> Thing:
        """Cancel a batch; cancelling twice is fine."""
        return await self._transport.answer(calls.step_call(batch_id, "cancel"))

    async def pause(self, batch_id: str) -> Thing:
        """Begin nothing more of a batch; what runs just now ends."""
        return await self._transport.answer(calls.step_call(batch_id, "pause"))

    async def resume(self, batch_id: str, *, max_cost_usd: str | None = None) -> Thing:
        """Go on with a batch that was paused, or that came to its cap: `max_cost_usd` raises that."""
        return await self._transport.answer(calls.resume_call(batch_id, max_cost_usd))

    async def retry(
        self, batch_id: str, *, tier: str = "up", only: str | None = None, completion_window: str = "24h", key: str | None = None
    ) -> Thing:  # fmt: skip
        """Run the failed rows of a batch again, one tier up or on a named one; returns the batch that does so."""
        return await self._transport.answer(calls.retry_call(batch_id, tier, only, completion_window, key))

    async def wait(
        self, batch_id: str, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None
    ) -> Thing:
        """Wait until a batch has ended, or so long, and return it; see `Batches.wait`."""
        looks, patience = Looks(within_s), self._transport.waiting()
        while True:
            try:
                batch = await self.batch(batch_id)
            except Busy as error:
                await asyncio.sleep(looks.away_s(patience, error))
                continue
            patience.heard()
            if on_progress is not None:
                on_progress(batch)
            if looks.is_over(batch):
                return batch
            await asyncio.sleep(looks.pause_s())

    async def progress(self, batch_id: str) -> AsyncIterator[Progress]:
        """Where a batch stands, whenever that changes, until it has ended; after a lost connection it goes on where it was."""
        way = Following(batch_id, self._transport.waiting())
        while not way.ended:
            try:
                if way.by_events:
                    async with self._transport.opened(way.call) as response:
                        async for event in way.opened(response):
                            if (new := way.heard(event)) is not None:
                                yield new
                    way.broke_off()
                elif (new := way.looked(await self._transport.answer(way.look))) is not None:
                    yield new
            except (Busy, Refused) as error:
                way.lost(error)
            if not way.ended:
                await asyncio.sleep(way.pause_s)

    async def results(self, batch: Thing | str, *, in_order: bool = False) -> AsyncIterator[Thing]:
        """A line for each row of a batch that has ended; see `Batches.results`."""
        found = await self.batch(batch) if isinstance(batch, str) else batch
        seen = await self.overlay(found)
        if in_order and result_files(found):
            async for line in self._ordered(found):
                yield seen.line(line)
            return
        for file_id in result_files(found):
            async for line in self.lines(file_id):
                yield seen.line(line)

    async def overlay(self, batch: Thing) -> Overlay:
        """What people said of the results of a batch; see `Batches.overlay`."""
        if not Overlay.is_wanted(batch):
            return Overlay()
        return Overlay([one async for one in self._transport.listed(reviewed_path(batch["id"]), PAGE)])

    async def _ordered(self, batch: Thing) -> AsyncIterator[Thing]:
        with Spool() as spool:
            for file_id in result_files(batch):
                lines = Lines()
                async for piece in self.content(file_id):
                    await asyncio.to_thread(spool.put, written(lines.feed(piece)))
                await asyncio.to_thread(spool.put, written(lines.end()))
            names = Names()
            async for piece in self._input_of(batch):
                for line in await asyncio.to_thread(spool.take, names.feed(piece)):
                    yield line
            for line in await asyncio.to_thread(spool.take, names.end()):
                yield line
            while rest := await asyncio.to_thread(spool.rest):
                for line in rest:
                    yield line

    async def _input_of(self, batch: Thing) -> AsyncIterator[bytes]:
        """The file that has the order: that of the first batch, where this one runs rows of it again."""
        while earlier := batch["rightsize"].get("retry_of"):
            batch = await self.batch(earlier)
        try:
            await self._transport.answer(get(path_of("files", batch["input_file_id"])))
        except NotFound:
            raise calls.without_order(batch["id"]) from None
        async for piece in self._transport.pieces(content_path(batch["input_file_id"])):
            yield piece
