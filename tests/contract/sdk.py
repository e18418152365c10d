"""The official client in both of its forms, which a test calls the same way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

import httpx2
import openai

from tests.serving import Api


class Sdk:
    """`openai.OpenAI` or `openai.AsyncOpenAI`, unmodified; `sdk(call)` is what the call gives, whichever it is."""

    def __init__(self, api: Api, kind: str) -> None:
        self.api = api
        self.is_async = kind == "async"
        self._runner = asyncio.Runner()
        self.statuses: list[int] = []
        """Of every response, those that the client sent again included."""
        self.client: Any = self._made()

    def _made(self, **options: Any) -> Any:
        given = {"base_url": f"{self.api.url}/v1", "api_key": self.api.key, "max_retries": 0, "timeout": 30, **options}
        return (openai.AsyncOpenAI if self.is_async else openai.OpenAI)(http_client=self._http(), **given)

    @contextmanager
    def other(self, **options: Any) -> Iterator[Any]:
        """A client with other options; what it was answered stands in `statuses` from here on."""
        client = self._made(**options)
        self.statuses.clear()
        try:
            yield client
        finally:
            self(client.close())

    def _http(self) -> Any:
        def note(response: httpx2.Response) -> None:
            self.statuses.append(response.status_code)

        async def noted(response: httpx2.Response) -> None:
            note(response)

        if self.is_async:
            return openai.DefaultAsyncHttpxClient(event_hooks={"response": [noted]})
        return openai.DefaultHttpxClient(event_hooks={"response": [note]})

    def __call__(self, pending: Any) -> Any:
        """What a call gives."""
        return self._runner.run(_waited(pending)) if inspect.isawaitable(pending) else pending

    def every(self, pages: Any, most: int = 1_000) -> list[Any]:
        """The entries of a list, page after page, as the client's own iteration finds them."""
        if not self.is_async:
            return [entry for entry, _ in zip(pages, range(most), strict=False)]

        async def gather() -> list[Any]:
            found: list[Any] = []
            async for entry in pages:
                found.append(entry)
                if len(found) == most:
                    break
            return found

        return self._runner.run(gather())

    def events(self, stream: Any) -> list[Any]:
        """Every event of a call with `stream=True`."""
        return self.every(self(stream))

    def within(self, opened: Any, use: Callable[[Any], Any]) -> Any:
        """What `use` gives of what a context manager of the client opens."""
        if isinstance(opened, AbstractContextManager):
            with opened as found:
                return use(found)

        async def entered() -> Any:
            async with opened as found:
                given = use(found)
                return await given if inspect.isawaitable(given) else given

        return self._runner.run(entered())

    def streamed(self, opened: Any, final: str) -> tuple[list[Any], Any]:
        """The events of a `.stream()` helper, and what its method `final` gives."""
        if not self.is_async:
            with opened as stream:
                return list(stream), getattr(stream, final)()

        async def followed() -> tuple[list[Any], Any]:
            async with opened as stream:
                return [event async for event in stream], await getattr(stream, final)()

        return self._runner.run(followed())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self(self.client.close())
        self._runner.close()


async def _waited(pending: Any) -> Any:
    return await pending
