"""What the service answers, as types: the objects whose fields callers reckon with. Sums of money are decimal texts."""

from __future__ import annotations

from typing import Any, TypedDict


class Counts(TypedDict):
    """How many rows there are, and what became of them."""

    total: int
    completed: int
    failed: int


class Progress(TypedDict):
    """Where a batch stands."""

    batch_id: str
    status: str
    request_counts: Counts
    tiers: dict[str, dict[str, Any]]
    """By tier: `planned`, `completed`, `failed`, `cost_usd`."""
    cost_usd: str
    left_s: float | None
    """About how long it still takes; None where that cannot be said."""
    paused: dict[str, Any] | None
    """`reason` and `remedy` where nothing of it is begun just now."""


class Tokens(TypedDict):
    """A number of tokens, with the interval that holds it four times in five."""

    expected: int
    low: int
    high: int


class Dollars(TypedDict):
    """A sum in US dollars, with the same interval."""

    expected: str
    low: str
    high: str


class Seconds(TypedDict):
    """A time, with the same interval."""

    expected: float
    low: float
    high: float


class Figures(TypedDict):
    """What some rows would take."""

    jobs: int
    input_tokens: Tokens
    output_tokens: Tokens
    cost_usd: Dollars
    at_most_usd: str
    seconds: Seconds


class Estimate(TypedDict):
    """What a batch would cost, use and take."""

    rows: int
    invalid_rows: int
    completion_window: str
    late: str | None
    """What is to be said where it may not end within its window."""
    basis: list[dict[str, Any]]
    """For each model and task of it: what the figures rest on."""
    total: Figures
    tiers: dict[str, Figures]
    """As the rows would be routed."""
    alternatives: dict[str, Figures]
    """By tier: those of the rows that it could serve, all on it."""


class UsageRow(TypedDict, total=False):
    """What was used and charged; the keys that were summed by stand beside the sums."""

    tenant: str
    project: str
    key: str
    task: str | None
    tier: str
    model: str
    day: str
    batch: str | None
    jobs: int
    attempts: int
    failed_attempts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    charge_usd: str
    cost_usd: str
    house_usd: str
    machine_usd: str
    overrun_usd: str
    rejected_usd: str


class Usage(TypedDict):
    """A report of usage."""

    by: list[str]
    data: list[UsageRow]
    total: UsageRow


Price = TypedDict(
    "Price", {"model": str, "tier": str, "from": str, "in_force": bool, "prices": dict[str, str]}
)  # `from` is a word of Python
