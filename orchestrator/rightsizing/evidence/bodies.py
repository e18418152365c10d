"""Stored bodies: in their row, or in the blob store where they are large."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import NotFound
from orchestrator.flow.context import Context

GONE: Final = b"{}"
"""Read instead of a body that is gone: nothing stands in it."""


def body_of(context: Context, body: bytes | None, blob_key: str | None) -> bytes | None:
    """A stored body; None for one that is gone."""
    if body is not None:
        return bytes(body)
    if not blob_key:
        return None
    try:
        return context.blobs.get(blob_key)
    except NotFound:
        return None
