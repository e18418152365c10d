"""Erasing: blobs that no row knows any more are deleted, several at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from orchestrator.blobs import BlobStore
from orchestrator.errors import ServiceUnavailable
from orchestrator.telemetry import log

AT_ONCE: Final = 8
"""Blobs that are deleted at the same time."""


def deleted(blobs: BlobStore, keys: Sequence[str]) -> bool:
    """Delete some blobs; False while their store is away."""
    try:
        if len(keys) == 1:
            blobs.delete(keys[0])
        elif keys:
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rightsize-erase") as pool:
                list(pool.map(blobs.delete, keys))
    except ServiceUnavailable as error:
        log("blobs_away", logging.WARNING, detail=error.message)
        return False
    return True
