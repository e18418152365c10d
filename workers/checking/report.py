"""What was found out about one model, as plain data for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Literal

from workers.checking.figures import Level

State = Literal["sound", "failed", "not served"]


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of request: what came back, and whether it is sound."""

    kind: str
    state: State
    said: str = ""
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    problem: str = ""
    remedy: str = ""


@dataclass(slots=True)
class Report:
    """One model: checks, the curve, and what follows from it."""

    model: str
    tier: str
    engine: str
    revision: str = ""
    simulated: bool = False
    load_s: float = 0.0
    checks: list[Check] = field(default_factory=list)
    unit: str = ""
    levels: list[Level] = field(default_factory=list)
    prefill_tps: float | None = None
    decode_tps: float | None = None
    now: dict[str, float] = field(default_factory=dict)
    suggested: dict[str, float] = field(default_factory=dict)
    usd_per_hour: Decimal | None = None
    rates: dict[str, Decimal] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    written: bool = False

    @property
    def sound(self) -> bool:
        """Whether at least one kind was answered soundly, and none failed."""
        states = {check.state for check in self.checks}
        return "sound" in states and "failed" not in states

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON; money is text."""
        plain = asdict(self)
        plain["rates"] = {name: f"{amount:f}" for name, amount in self.rates.items()}
        plain["usd_per_hour"] = None if self.usd_per_hour is None else f"{self.usd_per_hour:f}"
        return {**plain, "sound": self.sound}
