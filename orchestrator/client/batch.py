"""A batch as an object: what it is just now, and what can be done with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, Self, cast

from orchestrator.client.call import Thing
from orchestrator.client.following import ENDED
from orchestrator.client.shapes import Counts, Progress


class Known:
    """What is known of a batch: its object as it was last read."""

    def __init__(self, found: Thing) -> None:
        self.object = found
        """The batch's object as the API gave it."""

    @property
    def id(self) -> str:
        """Its id, which finds it again: `client.batch_of(id)`."""
        return str(self.object["id"])

    @property
    def status(self) -> str:
        """`validating`, `in_progress`, `finalizing`, `cancelling`, or how it ended."""
        return str(self.object["status"])

    @property
    def has_ended(self) -> bool:
        """Whether it is `completed`, `failed`, `expired` or `cancelled`."""
        return self.status in ENDED

    @property
    def counts(self) -> Counts:
        """Its rows: `total`, `completed`, `failed`."""
        return cast("Counts", self.object["request_counts"])

    @property
    def cost_usd(self) -> str:
        """What it was charged so far, as decimal text."""
        return str(self.object["rightsize"]["cost_usd"])

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What is wrong with its file, line by line, where that failed it."""
        return list((self.object["errors"] or {}).get("data", []))

    @property
    def retry_of(self) -> str | None:
        """The id of the batch whose failed rows it runs again."""
        found: str | None = self.object["rightsize"].get("retry_of")
        return found

    def __repr__(self) -> str:
        done = f"{self.counts['completed']} of {self.counts['total']} rows done, {self.counts['failed']} failed"
        return f"<{type(self).__name__} {self.id} {self.status}: {done}>"


class Verbs(Protocol):
    """What a batch needs of its client."""

    def batch(self, batch_id: str) -> Thing:
        """Read it."""

    def wait(
        self, batch_id: str, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None
    ) -> Thing:
        """Wait for its end."""

    def progress(self, batch_id: str) -> Iterator[Progress]:
        """Follow it."""

    def results(self, batch: Thing | str, *, in_order: bool = False) -> Iterator[Thing]:
        """Read its results."""

    def cancel(self, batch_id: str) -> Thing:
        """Cancel it."""

    def pause(self, batch_id: str) -> Thing:
        """Pause it."""

    def resume(self, batch_id: str, *, max_cost_usd: str | None = None) -> Thing:
        """Go on with it."""

    def retry(
        self, batch_id: str, *, tier: str = "up", only: str | None = None, completion_window: str = "24h", key: str | None = None
    ) -> Thing:  # fmt: skip
        """Run its failed rows again."""


class Batch(Known):
    """A batch of a service, made by `Rightsize.submit`."""

    def __init__(self, client: Verbs, found: Thing) -> None:
        super().__init__(found)
        self._client = client

    def refresh(self) -> Self:
        """Read it again."""
        return self._now(self._client.batch(self.id))

    def wait(self, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None) -> Self:
        """Wait until it has ended, or so long; `on_progress` sees its object on every look."""
        return self._now(self._client.wait(self.id, on_progress, within_s=within_s))

    def progress(self) -> Iterator[Progress]:
        """Where it stands, whenever that changes, until it has ended."""
        return self._client.progress(self.id)

    def results(self, *, in_order: bool = False) -> Iterator[Thing]:
        """A line for each row once it has ended: what succeeded, then what did not; with `in_order` as they were handed in.

        Of a batch that runs failed rows again they are those of both batches. For their order they wait in a temporary file.
        """
        yield from self._client.results(self.wait().object, in_order=in_order)

    def cancel(self) -> Self:
        """Cancel it; what is done stays done."""
        return self._now(self._client.cancel(self.id))

    def pause(self) -> Self:
        """Begin nothing more of it; its completion window goes on."""
        return self._now(self._client.pause(self.id))

    def resume(self, *, max_cost_usd: str | None = None) -> Self:
        """Go on with it; `max_cost_usd` raises its cap."""
        return self._now(self._client.resume(self.id, max_cost_usd=max_cost_usd))

    def retry(
        self, *, tier: str = "up", only: str | None = None, completion_window: str = "24h", key: str | None = None
    ) -> Batch:
        """Run its failed rows again, one tier up or on a named one, as a batch of their own; `only` takes those of one code."""
        made = self._client.retry(self.id, tier=tier, only=only, completion_window=completion_window, key=key)
        return Batch(self._client, made)

    def _now(self, found: Thing) -> Self:
        self.object = found
        return self


class AsyncVerbs(Protocol):
    """What a batch needs of its asynchronous client."""

    async def batch(self, batch_id: str) -> Thing:
        """Read it."""

    async def wait(
        self, batch_id: str, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None
    ) -> Thing:
        """Wait for its end."""

    def progress(self, batch_id: str) -> AsyncIterator[Progress]:
        """Follow it."""

    def results(self, batch: Thing | str, *, in_order: bool = False) -> AsyncIterator[Thing]:
        """Read its results."""

    async def cancel(self, batch_id: str) -> Thing:
        """Cancel it."""

    async def pause(self, batch_id: str) -> Thing:
        """Pause it."""

    async def resume(self, batch_id: str, *, max_cost_usd: str | None = None) -> Thing:
        """Go on with it."""

    async def retry(
        self, batch_id: str, *, tier: str = "up", only: str | None = None, completion_window: str = "24h", key: str | None = None
    ) -> Thing:  # fmt: skip
        """Run its failed rows again."""


class AsyncBatch(Known):
    """A batch of a service, made by `AsyncRightsize.submit`."""

    def __init__(self, client: AsyncVerbs, found: Thing) -> None:
        super().__init__(found)
        self._client = client

    async def refresh(self) -> Self:
        """Read it again."""
        return self._now(await self._client.batch(self.id))

    async def wait(
        self, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None
    ) -> Self:  # fmt: skip
        """Wait until it has ended, or so long; `on_progress` sees its object on every look."""
        return self._now(await self._client.wait(self.id, on_progress, within_s=within_s))

    def progress(self) -> AsyncIterator[Progress]:
        """Where it stands, whenever that changes, until it has ended."""
        return self._client.progress(self.id)

    async def results(self, *, in_order: bool = False) -> AsyncIterator[Thing]:
        """A line for each row once it has ended; see `Batch.results`."""
        async for line in self._client.results((await self.wait()).object, in_order=in_order):
            yield line

    async def cancel(self) -> Self:
        """Cancel it; what is done stays done."""
        return self._now(await self._client.cancel(self.id))

    async def pause(self) -> Self:
        """Begin nothing more of it; its completion window goes on."""
        return self._now(await self._client.pause(self.id))

    async def resume(self, *, max_cost_usd: str | None = None) -> Self:
        """Go on with it; `max_cost_usd` raises its cap."""
        return self._now(await self._client.resume(self.id, max_cost_usd=max_cost_usd))

    async def retry(
        self, *, tier: str = "up", only: str | None = None, completion_window: str = "24h", key: str | None = None
    ) -> AsyncBatch:
        """Run its failed rows again as a batch of their own; see `Batch.retry`."""
        made = await self._client.retry(self.id, tier=tier, only=only, completion_window=completion_window, key=key)
        return AsyncBatch(self._client, made)

    def _now(self, found: Thing) -> Self:
        self.object = found
        return self
