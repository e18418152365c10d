"""What we do in vLLM's own processes, seen without vLLM."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from workers.engines._vllm import child


@pytest.fixture
def in_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process was the engine of a worker."""
    monkeypatch.setenv(child.PARENT, str(os.getppid()))
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)


def test_a_schema_that_cannot_be_followed_is_not_quoted_in_the_log(
    in_engine: None, caplog: pytest.LogCaptureFixture
) -> None:
    telling = logging.getLogger(child.TELLING)
    try:
        child.end_with_worker()
        telling.warning("LLMatcher error: %s", 'Too many items\n<grammar>\n{"const": "the caller\'s secret"}')
        assert [one.getMessage() for one in caplog.records] == ["LLMatcher error: Too many items"]
    finally:
        telling.filters.clear()


def test_in_another_vllm_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(child.PARENT, raising=False)
    child.end_with_worker()
    assert not logging.getLogger(child.TELLING).filters
