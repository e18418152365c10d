"""Pools whose readers do as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.documents.apart.pool import Pool
from tests.documents.apart.asked import FAULTY


@pytest.fixture(autouse=True)
def tests_are_found(monkeypatch) -> None:
    """By the processes too, wherever the package itself is installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(children=1, readers_module=FAULTY) as made:
        yield made


@pytest.fixture
def two() -> Iterator[Pool]:
    with Pool(children=2, readers_module=FAULTY) as made:
        yield made
