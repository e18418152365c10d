"""What a replay comes to: percentiles of latency by tier, throughput, errors by code, cost. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

SHARES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "max": 1.0}
LATE_S: Final = 0.1
"""A request that left so long after its time counts as late: this machine, not the service, was too slow."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that was sent, and what came back."""

    arrival_s: float
    """When it was due, after the first one."""
    late_s: float
    """How long after that it left."""
    latency_s: float
    """From when it was due to the whole answer."""
    status: int
    code: str = ""
    """Of the error; empty for an answer."""
    tier: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    simulated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON; money is text."""
        return {**asdict(self), "cost_usd": f"{self.cost_usd:f}"}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed (nearest rank); they come in order."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latencies(values: Iterable[float]) -> dict[str, float]:
    """p50, p90, p95, p99 and max; empty where there is no value."""
    ordered = sorted(values)
    return {name: round(percentile(ordered, share), 6) for name, share in SHARES.items()} if ordered else {}


def summary(sent: Sequence[Sent], *, due: int, not_sent: int, unanswered: int, elapsed_s: float) -> dict[str, Any]:
    """All figures of a replay; `due` counts the requests whose time had come."""
    good = [one for one in sent if not one.code]
    seconds = max(elapsed_s, 1e-9)
    tokens = {name: sum(getattr(one, name) for one in good) for name in ("input_tokens", "output_tokens")}
    return {
        "requests": {
            "due": due, "answered": len(good), "failed": len(sent) - len(good), "not_sent": not_sent,
            "unanswered": unanswered, "late": sum(one.late_s > LATE_S for one in sent),
        },
        "elapsed_s": round(elapsed_s, 3),
        "requests_per_s": round(len(good) / seconds, 3),
        **tokens,
        "input_tokens_per_s": round(tokens["input_tokens"] / seconds, 1),
        "output_tokens_per_s": round(tokens["output_tokens"] / seconds, 1),
        "latency_s": latencies(one.latency_s for one in good),
        "tiers": {tier: _of_tier([one for one in sent if one.tier == tier]) for tier in sorted({one.tier for one in sent})},
        "errors": dict(Counter(one.code for one in sent if one.code).most_common()),
        "cost_usd": f"{sum((one.cost_usd for one in sent), Decimal(0)):f}",
        "simulated": any(one.simulated for one in good),
    }  # fmt: skip


def _of_tier(sent: Sequence[Sent]) -> dict[str, Any]:
    good = [one for one in sent if not one.code]
    return {
        "answered": len(good),
        "failed": len(sent) - len(good),
        "latency_s": latencies(one.latency_s for one in good),
        "cost_usd": f"{sum((one.cost_usd for one in sent), Decimal(0)):f}",
    }
