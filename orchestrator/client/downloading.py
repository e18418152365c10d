"""How far a download has come: it goes on where a lost connection left off. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from orchestrator.client.call import Call
from orchestrator.errors import Refused, ServiceUnavailable

_PLACE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
PAST_THE_END: Final = 416


class Download:
    """The bytes of one file, each of them once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._came = 0
        self._size: int | None = None
        self._skip = 0
        self.is_whole = False

    @property
    def call(self) -> Call:
        """What is asked next: the file, or the rest of it. Compressed, its bytes would not be those of the file."""
        rest = {"Range": f"bytes={self._came}-"} if self._came else {}
        return Call("GET", self._path, again=True, headers={"Accept-Encoding": "identity", **rest})

    def begins(self, status: int, headers: Mapping[str, str]) -> None:
        """See what a response will bring; raises ServiceUnavailable where that does not fit."""
        self._skip = 0
        if status != 206:  # whoever knows no Range sends all of it again
            self._skip = self._came
            length = headers.get("content-length", "")
            self._size = int(length) if length.isdigit() else None
            return
        place = _PLACE.fullmatch(headers.get("content-range", ""))
        if place is None or int(place[1]) != self._came:
            raise ServiceUnavailable("The service sent another part of the file than it was asked for.")
        self._size = None if place[2] == "*" else int(place[2])

    def took(self, piece: bytes) -> bytes:
        """What of a piece is new."""
        new = piece[self._skip :]
        self._skip = max(0, self._skip - len(piece))
        self._came += len(new)
        return new

    def ended(self) -> None:
        """The response is at its end, in order."""
        if self._size is not None and self._came < self._size:
            raise ServiceUnavailable(f"The file ended after {self._came:,} of {self._size:,} bytes.")
        self.is_whole = True

    def refused(self, error: Refused) -> None:
        """The rest was refused; raises the error, unless there was no more of it."""
        if error.status != PAST_THE_END or not self._came:
            raise error
        self.is_whole = True
