"""Reads what a server says of itself: the models it serves, and vLLM's metrics. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_COUNT: Final = 1_000_000
"""More requests than that no server has; a report that says so is none."""

_RUNNING: Final = b"vllm:num_requests_running"
_WAITING: Final = b"vllm:num_requests_waiting"
_KV_USE: Final = b"vllm:kv_cache_usage_perc"
_PREEMPTIONS: Final = b"vllm:num_preemptions_total"
_SAMPLE: Final = re.compile(
    rb"^(" + b"|".join((_RUNNING, _WAITING, _KV_USE, _PREEMPTIONS)) + rb")(?:\{[^\n]*\})? ([^\s]{1,40})(?: -?\d+)?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Report:
    """What one vLLM server runs."""

    running: int
    waiting: int
    kv_use: float
    """The fullest of its engines' caches, from 0 to 1."""
    preemptions: int
    """Since it was started."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The models that a server lists."""

    names: tuple[str, ...]
    by_vllm: bool

    def serves(self, name: str) -> bool | None:
        """Whether it serves a model of that name; None where it lists none and may serve any.

        Ollama writes a tag behind the name, and `latest` where nobody asked for one.
        """
        return name in self.names or f"{name}:latest" in self.names if self.names else None


def report_in(page: bytes) -> Report | None:
    """The report in a page of vLLM's metrics, summed over the engines of the server; None where it cannot be one.

    Names and meaning are vLLM's own (`vllm/v1/metrics/loggers.py`): gauges of running and waiting requests and of the
    share of the key-value cache that is taken, a counter of preemptions.
    """
    samples: dict[bytes, list[float]] = {_RUNNING: [], _WAITING: [], _KV_USE: [], _PREEMPTIONS: []}
    for found in _SAMPLE.finditer(page):
        try:
            value = float(found[2])
        except ValueError:
            return None
        if not math.isfinite(value) or value < 0:
            return None
        samples[found[1]].append(value)
    running, waiting, kv_uses = samples[_RUNNING], samples[_WAITING], samples[_KV_USE]
    if not running or not waiting or not kv_uses or max(kv_uses) > 1 or sum(running) + sum(waiting) > MAX_COUNT:
        return None
    return Report(int(sum(running)), int(sum(waiting)), max(kv_uses), int(sum(samples[_PREEMPTIONS])))


def listing_in(page: bytes) -> Listing | None:
    """The models in the answer of `/v1/models`; None where it cannot be one."""
    try:
        rows = json.loads(page)["data"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    models = list(_models(rows)) if isinstance(rows, list) else None
    return None if models is None else Listing(tuple(name for name, _ in models), any(owned for _, owned in models))


def _models(rows: list[object]) -> Iterator[tuple[str, bool]]:
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            yield row["id"], row.get("owned_by") == "vllm"
