"""Real weights for tests: fetched once, and kept under build/weights. Where they cannot be had the tests fail and say why."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks.weights import smollm2


def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct for llama.cpp."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.fail("xllamacpp is not installed, and nothing of llama.cpp can be tested: install the extra [slm].")
    try:
        return smollm2.gguf()
    except SystemExit as end:
        pytest.fail(f"The weights of SmolLM2 cannot be had: {end}")
