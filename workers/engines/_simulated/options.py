"""The options under `[models.NAME.simulate]`, checked, and the failures that they describe."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from orchestrator.errors import EngineFault, InvalidConfig

WAITING_KINDS: Final = frozenset({"hang"})
"""Failures that give no answer until the deadline ends them."""

_FAULTS: Final[Mapping[str, tuple[str, bool, int, str]]] = {
    "timeout": ("timeout", True, 504, "The simulated server gave no complete answer in time."),
    "429": ("rate_limited", True, 429, "The simulated server takes no more requests for now."),
    "500": ("server_error", True, 502, "The simulated server answered 500."),
    "502": ("server_error", True, 502, "The simulated server answered 502."),
    "400": ("bad_request", False, 400, "The simulated server refused the request."),
    "refused": ("connection_failed", True, 502, "The simulated server refused the connection."),
    "garbage": ("bad_json", True, 502, "The simulated answer is not JSON."),
    "cut": ("cut_stream", True, 502, "The simulated answer broke off."),
    "usage_negative": ("bad_usage", True, 502, "The simulated answer counts negative tokens."),
    "usage_huge": ("bad_usage", True, 502, "The simulated answer counts more tokens than the request can have."),
    "usage_nan": ("bad_usage", True, 502, "The simulated answer counts tokens that are no number."),
}
"""Kind -> (code, retryable, HTTP status, message): the same codes that the `openai` engine gives for the real thing."""

KINDS: Final = (*_FAULTS, *sorted(WAITING_KINDS), "usage_missing")

_MARKER: Final = re.compile(r"\[\[(?:(die)|sleep:(\d{1,4}(?:\.\d{1,6})?)|fail:([a-z0-9_]{1,20})(?::(\d{1,3}))?)\]\]")


@dataclass(frozen=True, slots=True)
class Failure:
    """One way in which the simulated model fails: a share of the attempts, or the first attempts of every job."""

    kind: str
    rate: float = 1.0
    first: int | None = None
    """Only the first so many attempts of a job, as this process counts them."""


@dataclass(frozen=True, slots=True)
class Markers:
    """What the prompt's own text asks of the simulated model; obeyed only with `obey_markers = true`."""

    die: bool = False
    sleep_s: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a simulated model behaves. Times are simulated seconds: `speed` of them pass in one real second."""

    latency_s: tuple[float, float] = (0.0, 0.0)
    accuracy: float = 1.0
    reasoning_tokens: tuple[int, int] | None = None
    output_tokens: tuple[int, int] | None = None
    """Where it is given, the count of every answer; otherwise tokens are estimated from the answer's text."""
    seed: int = 0
    speed: float = 1.0
    """Infinite for `"max"`: no waiting at all."""
    fail: tuple[Failure, ...] = ()
    obey_markers: bool = False
    retry_after_s: float = 1.0
    """What a simulated 429 asks for."""
    breaks: float = 0.0
    """The share of the jobs whose answers have not the JSON form that was asked for (`_simulated/broken.py`)."""
    mends: float = 1.0
    """Of those, the share whose answers are right once the model is told what is wrong."""

    @property
    def waits(self) -> bool:
        """Whether an answer takes any real time."""
        return self.latency_s[1] / self.speed > 0


def options_from(table: Mapping[str, Any], model: str) -> Options:
    """Checked options; raises InvalidConfig that names the key and the remedy."""
    where = f"models.{model}.simulate"
    known = [field.name for field in fields(Options)]
    if unknown := sorted(set(table) - set(known)):
        raise InvalidConfig(f"{where} has unknown keys: {', '.join(unknown)}. Known: {', '.join(known)}.")
    checked: dict[str, Any] = {}
    for key, value in table.items():
        try:
            checked[key] = _READERS[key](value)
        except (TypeError, ValueError) as error:
            raise InvalidConfig(f"{where}.{key}: {error}.") from None
    return Options(**checked)


def markers_in(text: str) -> Markers:
    """The markers of a prompt: `[[die]]`, `[[sleep:SECONDS]]` (real), `[[fail:KIND]]` or `[[fail:KIND:FIRST]]`."""
    if "[[" not in text:
        return Markers()
    die, sleep_s, failure = False, 0.0, None
    for match in _MARKER.finditer(text):
        if match[1]:
            die = True
        elif match[2]:
            sleep_s += float(match[2])
        elif match[3] in KINDS:
            failure = Failure(match[3], first=int(match[4]) if match[4] else None)
    return Markers(die, sleep_s, failure)


def fault_of(kind: str, retry_after_s: float) -> EngineFault:
    """The fault that a failure of this kind ends in."""
    code, retryable, status, message = _FAULTS[kind]
    after = retry_after_s if kind == "429" else None
    return EngineFault(message, code=code, retryable=retryable, http_status=status, retry_after_s=after)


def _number(value: object, low: float = 0.0, high: float = 1e9) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"must be a number, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"must be from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**9:
        raise TypeError(f"must be a whole number from 0 to 1000000000, not {value!r}")
    return value


def _pair(value: object) -> tuple[object, object]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(f"must be two numbers [low, high], not {value!r}")
    return value[0], value[1]


def _seconds(value: object) -> tuple[float, float]:
    low, high = (_number(item) for item in _pair(value))
    return _ordered(low, high)


def _tokens(value: object) -> tuple[int, int]:
    low, high = (_whole(item) for item in _pair(value))
    _ordered(low, high)
    return low, high


def _ordered(low: float, high: float) -> tuple[float, float]:
    if low > high:
        raise ValueError(f"must have its lower number first, not [{low:g}, {high:g}]")
    return low, high


def _speed(value: object) -> float:
    return math.inf if value == "max" else _number(value, low=1e-6)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"must be true or false, not {value!r}")
    return value


def _failures(value: object) -> tuple[Failure, ...]:
    rows = [value] if isinstance(value, Mapping) else value
    if isinstance(rows, str) or not isinstance(rows, Sequence):
        raise TypeError('must be tables such as {kind = "429", rate = 0.1}')
    return tuple(_failure(row) for row in rows)


def _failure(row: object) -> Failure:
    if not isinstance(row, Mapping):
        raise TypeError(f'must be tables such as {{kind = "429", rate = 0.1}}, not {row!r}')
    if unknown := sorted(set(row) - {"kind", "rate", "first"}):
        raise ValueError(f"has unknown keys: {', '.join(unknown)}. Known: kind, rate, first")
    kind = str(row.get("kind"))
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not known. Known: {', '.join(KINDS)}")
    first = _whole(row["first"]) if "first" in row else None
    return Failure(kind, _number(row.get("rate", 1.0), high=1.0), first)


_READERS: Final[Mapping[str, Any]] = {
    "latency_s": _seconds,
    "accuracy": lambda value: _number(value, high=1.0),
    "breaks": lambda value: _number(value, high=1.0),
    "mends": lambda value: _number(value, high=1.0),
    "reasoning_tokens": _tokens,
    "output_tokens": _tokens,
    "seed": _whole,
    "speed": _speed,
    "fail": _failures,
    "obey_markers": _flag,
    "retry_after_s": _number,
}
