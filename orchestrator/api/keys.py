"""API keys that were looked up a moment ago."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from orchestrator.contracts import Owner

FRESH_S: Final = 10.0
"""How long a revoked key may still be taken."""
MOST_KEYS: Final = 10_000


class KeyCache:
    """Keys that were looked up within the last seconds, the known and the unknown ones, by hash; bounded."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, tuple[float, Owner | None]] = OrderedDict()

    def get(self, key_hash: bytes) -> tuple[Owner | None, bool]:
        """The owner, and whether the answer is fresh."""
        read_at, owner = self._found.get(key_hash, (float("-inf"), None))
        return owner, time.monotonic() - read_at < FRESH_S

    def put(self, key_hash: bytes, owner: Owner | None) -> None:
        """Remember what was found."""
        self._found[key_hash] = (time.monotonic(), owner)
        self._found.move_to_end(key_hash)
        while len(self._found) > MOST_KEYS:
            self._found.popitem(last=False)
