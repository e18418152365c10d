"""What goes between a pool and the processes in which documents are read: a request with an open file, and one answer."""

from __future__ import annotations

import array
import json
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from orchestrator.documents.reading import Limits

READY: Final = 1
"""The process has its walls up: what it tells are its `Guards`, as JSON."""
READING: Final = 2
PICTURES: Final = 3
REFUSAL: Final = 4
"""`{"error", "message"}`: see `reading.Unreadable`."""
NO_MEMORY: Final = 5
NOT_READY: Final = 6
"""It cannot start, and says why."""

_ASKED: Final = struct.Struct(">Q")
_ANSWER: Final = struct.Struct(">B?Q")
_PICTURE: Final = struct.Struct(">Q")
_FIRST_BYTES: Final = 64 * 1024
"""Received at once, whatever it is."""
_CHUNK_BYTES: Final = 1024 * 1024


class Died(Exception):
    """The process at the other end is gone, or says what it must not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done with a file: read, or some of its pages drawn."""

    name: str
    limits: Limits
    pages: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it; `is_spent` where the process should be replaced."""

    kind: int
    is_spent: bool
    content: bytes


def ask(channel: socket.socket, asked: Asked, descriptor: int) -> None:
    """Send a request, and with it the open file."""
    content = json.dumps({"name": asked.name, "limits": asdict(asked.limits), "pages": asked.pages}).encode()
    socket.send_fds(channel, [_ASKED.pack(len(content)) + content], [descriptor])


def asked_by(channel: socket.socket) -> tuple[Asked, int] | None:
    """The next request and its open file; None where the other end is closed."""
    data, ancillary, _, _ = channel.recvmsg(_FIRST_BYTES, socket.CMSG_SPACE(4))
    if not data:
        return None
    descriptors = array.array("i")
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    whole = bytearray(data)
    _fill(channel, whole, _ASKED.size)
    (size,) = _ASKED.unpack_from(whole)
    _fill(channel, whole, _ASKED.size + size)
    told: dict[str, Any] = json.loads(whole[_ASKED.size :])
    return Asked(told["name"], Limits(**told["limits"]), told["pages"]), descriptors[0]


def answer(channel: socket.socket, given: Answer) -> None:
    """Send an answer; a short one at once, so that nobody wakes twice for it."""
    head = _ANSWER.pack(given.kind, given.is_spent, len(given.content))
    if len(given.content) <= _FIRST_BYTES:
        channel.sendall(head + given.content)
    else:
        channel.sendall(head)
        channel.sendall(given.content)


def answer_of(channel: socket.socket, most_bytes: int, until: float) -> Answer:
    """The answer that comes; raises TimeoutError at that time of `time.monotonic`, and Died where none comes, or too much."""
    whole = bytearray()
    _fill(channel, whole, _ANSWER.size, until)
    kind, is_spent, size = _ANSWER.unpack_from(whole)
    if size > most_bytes:
        raise Died
    _fill(channel, whole, _ANSWER.size + size, until)
    if len(whole) > _ANSWER.size + size:
        raise Died
    return Answer(kind, is_spent, bytes(memoryview(whole)[_ANSWER.size :]))


def _fill(channel: socket.socket, data: bytearray, size: int, until: float | None = None) -> None:
    """Receive until there are so many bytes at least. Room is taken as they come, and not as they are announced."""
    while len(data) < size:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 0.001))
        piece = channel.recv(max(min(size - len(data), _CHUNK_BYTES), _FIRST_BYTES))
        if not piece:
            raise Died
        data += piece


def packed(pictures: Iterable[bytes]) -> bytes:
    """Pictures one after the other, each after its length."""
    return b"".join(part for picture in pictures for part in (_PICTURE.pack(len(picture)), picture))


def unpacked(content: bytes) -> list[bytes]:
    """The pictures that were packed; raises ValueError where the lengths do not add up."""
    pictures, place = [], 0
    while place < len(content):
        if place + _PICTURE.size > len(content):
            raise ValueError("pictures")
        (size,) = _PICTURE.unpack_from(content, place)
        place += _PICTURE.size
        if place + size > len(content):
            raise ValueError("pictures")
        pictures.append(content[place : place + size])
        place += size
    return pictures
