"""A multipart form that is read piece by piece: its file goes on to the blob store and never stands in memory whole."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Final, Self

import anyio
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from orchestrator.api.limits import too_large
from orchestrator.api.serving import Serving
from orchestrator.errors import InvalidRequest, Unsupported
from orchestrator.settings import MIB

MOST_PARTS: Final = 32
MOST_FIELD_BYTES: Final = 4_096
MOST_LABEL: Final = 255
_UNSHOWN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(slots=True)
class Form:
    """What a form held beside its file's bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    """None until a file came."""
    size: int = 0


class FormReader:
    """Feeds a form to the parser, and gives back the bytes of the part named `file` as they come."""

    def __init__(self, content_type: str, most_bytes: int) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 256:
            raise Unsupported("Send the file as multipart/form-data, with the fields `purpose` and `file`.")
        self.form = Form()
        self._most = most_bytes
        self._pieces: list[bytes] = []
        self._parts = 0
        self._header_name = self._header_value = b""
        self._disposition = b""
        self._field: str | None = None
        self._value = b""
        self._in_file = False
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_text,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the file that `data` brought; raises InvalidRequest or TooLarge."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise InvalidRequest(f"The form is broken: {str(error)[:200]}.") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> Form:
        """The whole form; raises InvalidRequest where it broke off or held no file."""
        if not self._ended:
            raise InvalidRequest("The form broke off before its end. Send it again.")
        if self.form.filename is None:
            raise InvalidRequest("The form has no file. Send one in the field `file`.", param="file")
        return self.form

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidRequest(f"The form has more than {MOST_PARTS} parts. Send `purpose` and `file` only.")
        self._disposition = self._value = b""
        self._field, self._in_file = None, False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if self._field == "file":
            if self.form.filename is not None:
                raise InvalidRequest("The form has two files. Upload one at a time.", param="file")
            self.form.filename = label(options.get(b"filename", b"").decode("utf-8", "replace"))
            self._in_file = True

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.form.size += end - start
            if self.form.size > self._most:
                raise too_large(self._most)
            self._pieces.append(data[start:end])
        else:
            self._value += data[start:end]
            if len(self._value) > MOST_FIELD_BYTES:
                raise InvalidRequest(f"The field `{(self._field or '')[:80]}` is longer than {MOST_FIELD_BYTES} bytes.")

    def _part_end(self) -> None:
        if not self._in_file and self._field:
            self.form.fields[self._field] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


class BlobWriter:
    """A blob that is written from the event loop: each piece of a MiB on a thread, and the loop stays free."""

    def __init__(self, serving: Serving, key: str) -> None:
        self._serving = serving
        self._opened = serving.context.blobs.writing(key)
        self._file: BinaryIO | None = None
        self._pending: list[bytes] = []
        self._size = 0

    async def __aenter__(self) -> Self:
        self._file = await self._serving.write(self._opened.__enter__)
        return self

    async def add(self, pieces: list[bytes]) -> None:
        """Take some pieces, and write them once there is enough of them."""
        self._pending += pieces
        self._size += sum(map(len, pieces))
        if self._size >= MIB:
            await self._flush()

    async def _flush(self) -> None:
        data, self._pending, self._size = b"".join(self._pending), [], 0
        if self._file is not None and data:
            await self._serving.write(self._file.write, data)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._flush()
        except BaseException as failed:
            with anyio.CancelScope(shield=True):
                await self._serving.write(self._opened.__exit__, type(failed), failed, failed.__traceback__)
            raise
        with anyio.CancelScope(shield=True):
            await self._serving.write(self._opened.__exit__, kind, error, trace)


async def receive(serving: Serving, content_type: str, stream: AsyncIterator[bytes], key: str) -> Form:
    """Stream a form's file into a blob; the blob is there only if the form came whole."""
    reader = FormReader(content_type, serving.bounds.upload_bytes)
    async with BlobWriter(serving, key) as blob:
        async for data in stream:
            await blob.add(reader.feed(data))
        return reader.end()


def label(filename: str) -> str:
    """A caller's file name as a label for people: the last part of a path, nothing unshown in it, bounded. Never a path of ours."""
    last = re.split(r"[/\\]", filename)[-1]
    return _UNSHOWN.sub("", last)[:MOST_LABEL] or "upload"
