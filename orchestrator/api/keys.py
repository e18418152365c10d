"""API keys that were looked up a moment ago."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from orchestrator.store.keys import Identity

FRESH_S: Final = 2.0
"""How long a revoked key may still be taken."""
MOST_KEYS: Final = 10_000


class KeyCache:
    """Keys that were looked up within the last seconds, the known and the unknown ones, by hash; bounded."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, tuple[float, Identity | None]] = OrderedDict()

    def get(self, key_hash: bytes) -> tuple[Identity | None, bool]:
        """Whose it is, and whether the answer is fresh."""
        read_at, identity = self._found.get(key_hash, (float("-inf"), None))
        return identity, time.monotonic() - read_at < FRESH_S

    def put(self, key_hash: bytes, identity: Identity | None) -> None:
        """Remember what was found."""
        self._found[key_hash] = (time.monotonic(), identity)
        self._found.move_to_end(key_hash)
        while len(self._found) > MOST_KEYS:
            self._found.popitem(last=False)
