"""Readers that do as they are told, and what comes of it."""

from __future__ import annotations

import io

import pytest

from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.reading import Limits, Unreadable

FAULTY = "tests.documents.faulty"
MIB = 1024 * 1024


def do(pool: Pool, deed: str, limits: Limits | None = None) -> str:
    return pool.read(io.BytesIO(deed.encode()), "a.txt", limits).text


def refused(pool: Pool, deed: str, limits: Limits | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        do(pool, deed, limits)
    assert caught.value.message.endswith(".")
    return caught.value
