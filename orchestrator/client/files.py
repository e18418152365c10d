"""Files of the service: sent by pieces, read by pieces, and each way again where that is safe."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import cast

import orjson

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import Call, Thing, get, path_of
from orchestrator.client.lines import Lines, lines_of, written
from orchestrator.client.sending import AsyncSource, Form, Source, of_file, of_lines
from orchestrator.client.transport import FILES, Transport
from orchestrator.errors import InvalidRequest

Content = str | os.PathLike[str] | Iterable[bytes]
"""A path, or lines."""
PAGE = 1_000


def form_for(filename: str, purpose: str, expires_after_s: int | None) -> Form:
    """The form of an upload."""
    expiry = (
        {}
        if expires_after_s is None
        else {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after_s)}
    )
    return Form({"purpose": purpose, **expiry}, filename)


def source_of(content: Content) -> Source:
    """Where the bytes of some content come from; raises InvalidRequest for a path that cannot be read."""
    return of_file(Path(content)) if isinstance(content, (str, os.PathLike)) else of_lines(content)


def name_of(content: object, filename: str | None) -> str:
    """What an upload is called."""
    return filename or (Path(content).name if isinstance(content, (str, os.PathLike)) else "input.jsonl")


def delete_call(file_id: str) -> Call:
    """Deletes a file."""
    return Call("DELETE", path_of("files", file_id), again=True)


def content_path(file_id: str) -> str:
    """Where a file's bytes are."""
    return path_of("files", file_id, "content")


def parsed(line: bytes, file_id: str) -> Thing:
    """A line of a JSONL file; raises InvalidRequest where it is no JSON."""
    try:
        return cast("Thing", orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{file_id} is no JSONL file ({error}): read it with `content`.") from None


class Files:
    """Sends and reads files."""

    _transport: Transport

    def upload(
        self, content: Content, *, filename: str | None = None, purpose: str = "batch", expires_after_s: int | None = None
    ) -> Thing:  # fmt: skip
        """Upload a file by its path, or lines as they are made; neither is ever in memory whole. Returns the file object.

        Where the connection is lost, a path or a collection is sent again from its start. `expires_after_s` is 3,600 to 2,592,000.
        """
        form = form_for(name_of(content, filename), purpose, expires_after_s)
        return self._transport.upload(form, source_of(content))

    def files(self, *, purpose: str | None = None) -> Iterator[Thing]:
        """Every file of the project, the newest first."""
        return self._transport.listed(FILES, PAGE, {"purpose": purpose})

    def file(self, file_id: str) -> Thing:
        """A file's object."""
        return self._transport.answer(get(path_of("files", file_id)))

    def delete_file(self, file_id: str) -> Thing:
        """Delete a file; batches that were made of it go on."""
        return self._transport.answer(delete_call(file_id))

    def content(self, file_id: str) -> Iterator[bytes]:
        """A file's bytes, in pieces; after a lost connection it goes on with the next byte."""
        return self._transport.pieces(content_path(file_id))

    def lines(self, file_id: str) -> Iterator[Thing]:
        """Every line of a JSONL file."""
        for line in lines_of(self.content(file_id)):
            yield parsed(line, file_id)


class AsyncFiles:
    """The same for asynchronous code."""

    _transport: AsyncTransport

    async def upload(
        self, content: Content | AsyncIterable[bytes], *, filename: str | None = None, purpose: str = "batch",
        expires_after_s: int | None = None,
    ) -> Thing:  # fmt: skip
        """Upload a file by its path, or lines as they are made, synchronously (on a thread) or not; see `Files.upload`."""
        form = form_for(name_of(content, filename), purpose, expires_after_s)
        source = AsyncSource(content) if isinstance(content, AsyncIterable) else source_of(content)
        return await self._transport.upload(form, source)

    def files(self, *, purpose: str | None = None) -> AsyncIterator[Thing]:
        """Every file of the project, the newest first."""
        return self._transport.listed(FILES, PAGE, {"purpose": purpose})

    async def file(self, file_id: str) -> Thing:
        """A file's object."""
        return await self._transport.answer(get(path_of("files", file_id)))

    async def delete_file(self, file_id: str) -> Thing:
        """Delete a file."""
        return await self._transport.answer(delete_call(file_id))

    def content(self, file_id: str) -> AsyncIterator[bytes]:
        """A file's bytes, in pieces; after a lost connection it goes on with the next byte."""
        return self._transport.pieces(content_path(file_id))

    async def lines(self, file_id: str) -> AsyncIterator[Thing]:
        """Every line of a JSONL file."""
        lines = Lines()
        async for piece in self.content(file_id):
            for line in written(lines.feed(piece)):
                yield parsed(line, file_id)
        for line in written(lines.end()):
            yield parsed(line, file_id)
