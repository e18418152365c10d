"""What a caller declares besides a request: its `rightsize` hints, sums of money and completion windows, all bounded. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from orchestrator.contracts import NAME, Stakes, Tier
from orchestrator.errors import InvalidRequest, quoted

HINTS: Final = frozenset(
    {
        "task",
        "tier",
        "stakes",
        "max_cost_usd",
        "max_latency_s",
        "instructions",
        "reasoning",
        "thinking_tokens",
        "samples",
        "vote",
        "adapter",
        "min_tier",
        "max_tier",
        "cascade",
        "escalate",
        "min_confidence",
        "deadline",
    }
)
VOTES: Final = ("majority", "judge")
BOUNDED: Final = (Tier.SLM, Tier.LLM, Tier.RLM)
"""The tiers that `min_tier` and `max_tier` name, in their order. What needs eyes or ears has no choice."""
MOST_SAMPLES: Final = 16
MOST_THINKING: Final = 1_000_000
TASK_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LEAST_USD: Final = Decimal("1e-12")
"""The ledger's last digit."""
_PLAIN_SUM: Final = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,12})?", re.ASCII)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller declares about a request in its `rightsize` object; None where it says nothing."""

    task: str | None = None
    tier: Tier | None = None
    stakes: Stakes | None = None
    max_cost_usd: Decimal | None = None
    max_latency_s: float | None = None
    instructions: str | None = None
    reasoning: bool | None = None
    """Whether the answer comes with the model's reasoning."""
    thinking_tokens: int | None = None
    """The most tokens of thought; the model's own figure for the `reasoning_effort` where it says nothing."""
    samples: int | None = None
    """So many answers are written, and one is chosen."""
    vote: str | None = None
    """How it is chosen: by `majority`, or by the model as a `judge`."""
    adapter: str | None = None
    """The LoRA adapter that the model answers with: only models that have it are considered."""
    min_tier: Tier | None = None
    max_tier: Tier | None = None
    """The least and the greatest tier that may answer, in the order of `BOUNDED`."""
    cascade: tuple[Tier, ...] = ()
    """Tiers that are asked one after the other until an answer is accepted."""
    escalate: bool | None = None
    """Whether an answer that is not accepted is asked of the next tier up: a cascade that begins wherever the route does."""
    min_confidence: float | None = None
    """The least score with which an answer of a cascade is accepted; the last model's always is."""
    deadline_s: float | None = None
    """How long a single request may take, where that is less than any may."""


NO_HINTS: Final = Hints()


def hints_from(raw: object) -> Hints:
    """The checked hints of a `rightsize` object; raises InvalidRequest that names the field and what it may be."""
    if raw is None:
        return NO_HINTS
    if not isinstance(raw, Mapping):
        raise InvalidRequest("`rightsize` must be an object.", param="rightsize")
    if unknown := set(raw) - HINTS:
        raise InvalidRequest(
            f"`rightsize` has unknown fields: {quoted(unknown)}. Known: {sorted(HINTS)}.", param="rightsize"
        )
    task, tier, stakes = raw.get("task"), raw.get("tier"), raw.get("stakes")
    if task is not None and not (isinstance(task, str) and TASK_NAME.fullmatch(task)):
        raise InvalidRequest(
            "`rightsize.task` must be lower-case letters, digits and dashes, at most 63.", param="task"
        )
    if tier not in (None, "auto", *Tier):
        raise InvalidRequest(
            f"`rightsize.tier` must be auto, {', '.join(Tier)}; it is {str(tier)[:40]!r}.", param="tier"
        )
    if stakes not in (None, *Stakes):
        raise InvalidRequest(f"`rightsize.stakes` must be {', '.join(Stakes)}.", param="stakes")
    instructions = raw.get("instructions")
    if instructions is not None and not (isinstance(instructions, str) and len(instructions) <= 100_000):
        raise InvalidRequest(
            "`rightsize.instructions` must be text of at most 100,000 characters.", param="instructions"
        )
    latency = raw.get("max_latency_s")
    if latency is not None and not is_number(latency, 0.001, 1e6):
        raise InvalidRequest(
            "`rightsize.max_latency_s` must be seconds between 0.001 and 1,000,000.", param="max_latency_s"
        )
    adapter = raw.get("adapter")
    if adapter is not None and not (isinstance(adapter, str) and re.fullmatch(NAME, adapter)):
        raise InvalidRequest(
            "`rightsize.adapter` must be the name of an adapter, as rightsize.toml gives it.", param="adapter"
        )
    _check_deliberation(raw)
    _check_tiers(raw)
    return Hints(
        task=task,
        tier=Tier(tier) if tier not in (None, "auto") else None,
        stakes=Stakes(stakes) if stakes else None,
        max_cost_usd=usd_from(raw.get("max_cost_usd"), "max_cost_usd"),
        max_latency_s=latency,
        instructions=instructions,
        reasoning=raw.get("reasoning"),
        thinking_tokens=raw.get("thinking_tokens"),
        samples=raw.get("samples"),
        vote=raw.get("vote"),
        adapter=adapter,
        min_tier=_bound(raw, "min_tier"),
        max_tier=_bound(raw, "max_tier"),
        cascade=tuple(Tier(one) for one in raw.get("cascade") or ()),
        escalate=raw.get("escalate"),
        min_confidence=_confidence(raw.get("min_confidence")),
        deadline_s=_deadline_s(raw.get("deadline")),
    )


def _bound(raw: Mapping[str, object], name: str) -> Tier | None:
    return Tier(str(raw[name])) if raw.get(name) is not None else None


def _confidence(value: object) -> float | None:
    if value is not None and not is_number(value, 0.0, 1.0):
        raise InvalidRequest("`rightsize.min_confidence` must be a number from 0 to 1.", param="min_confidence")
    return None if value is None else float(str(value))


def _deadline_s(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest("`rightsize.deadline` must be text such as 30s, 10m or 24h.", param="deadline")
    return window_seconds(value, "rightsize.deadline")


def _check_tiers(raw: Mapping[str, object]) -> None:
    """The bounds and the cascade: each by itself, and that what is given does not contradict itself."""
    if not isinstance(raw.get("escalate"), (bool, type(None))):
        raise InvalidRequest("`rightsize.escalate` must be true or false.", param="escalate")
    places = {}
    for name in ("min_tier", "max_tier"):
        if (value := raw.get(name)) is None:
            continue
        if value not in BOUNDED:
            raise InvalidRequest(f"`rightsize.{name}` must be {', '.join(BOUNDED)}.", param=name)
        places[name] = BOUNDED.index(Tier(str(value)))
    if places.get("min_tier", 0) > places.get("max_tier", len(BOUNDED)):
        raise InvalidRequest("`rightsize.min_tier` is greater than `max_tier`: no tier is left.", param="min_tier")
    cascade = raw.get("cascade")
    if cascade is None:
        return
    if (
        not isinstance(cascade, list)
        or not 2 <= len(cascade) <= len(Tier)
        or not all(one in tuple(Tier) for one in cascade)
        or len(set(cascade)) < len(cascade)
    ):
        raise InvalidRequest(
            f'`rightsize.cascade` must be two or more of {", ".join(Tier)}, each once, such as ["slm", "llm"].',
            param="cascade",
        )
    if places or raw.get("tier") not in (None, "auto"):
        raise InvalidRequest(
            "`rightsize.cascade` names its tiers: leave out `tier`, `min_tier` and `max_tier`.", param="cascade"
        )


def _check_deliberation(raw: Mapping[str, object]) -> None:
    if not isinstance(raw.get("reasoning"), (bool, type(None))):
        raise InvalidRequest("`rightsize.reasoning` must be true or false.", param="reasoning")
    for name, least, most in (("thinking_tokens", 1, MOST_THINKING), ("samples", 1, MOST_SAMPLES)):
        value = raw.get(name)
        if value is not None and not (isinstance(value, int) and is_number(value, least, most)):
            raise InvalidRequest(f"`rightsize.{name}` must be a whole number between {least} and {most:,}.", param=name)
    if raw.get("vote") not in (None, *VOTES):
        raise InvalidRequest(f"`rightsize.vote` must be {' or '.join(VOTES)}.", param="vote")
    if raw.get("vote") is not None and (raw.get("samples") or 1) == 1:
        raise InvalidRequest("`rightsize.vote` needs `samples` of 2 or more.", param="vote")


def check_no_deadline(hints: Hints) -> None:
    """Refuse a deadline of a batch or of its rows: its `completion_window` is that of all of them."""
    if hints.deadline_s is not None:
        raise InvalidRequest(
            "`rightsize.deadline` is for single requests. A batch's deadline is its `completion_window`: leave it out.",
            param="deadline",
        )


def usd_from(value: object, param: str) -> Decimal | None:
    """A sum of money from a JSON number or string, without passing through a binary fraction where it is a string."""
    if value is None:
        return None
    try:
        amount = Decimal(str(value)) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    except ArithmeticError:
        amount = None
    if isinstance(value, str) and not _PLAIN_SUM.fullmatch(value):
        amount = None
    if amount is None or not amount.is_finite() or not (amount == 0 or LEAST_USD <= amount <= 1_000_000):
        raise InvalidRequest(f'`{param}` must be US dollars between 0 and 1,000,000, such as "0.05".', param=param)
    return amount


def window_seconds(window: str, param: str = "completion_window", *, most_days: int = 30) -> float:
    """Seconds of a completion window such as `24h`, `90m`, `7d` or `30s`, at most 30 days; `param` is the field that it is given in."""
    digits, unit = window[:-1], window[-1:]
    if unit not in _UNIT_S or not digits.isascii() or not digits.isdigit() or len(digits) > 7:
        raise InvalidRequest(f"`{param}` must be a number and a unit, such as 24h, 90m or 7d.", param=param)
    seconds = int(digits) * _UNIT_S[unit]
    if not 1 <= seconds <= most_days * 86_400:
        raise InvalidRequest(f"`{param}` must lie between 1 second and {most_days} days.", param=param)
    return float(seconds)


def merged(row: Hints, batch: Hints) -> Hints:
    """A row's own hints, with the batch's where the row says nothing."""
    if batch is NO_HINTS:
        return row
    chooses = row.tier is not None or bool(row.cascade)  # a row's own choice takes the place of the batch's
    return Hints(
        task=row.task or batch.task,
        tier=row.tier if chooses else batch.tier,
        stakes=row.stakes or batch.stakes,
        max_cost_usd=row.max_cost_usd if row.max_cost_usd is not None else batch.max_cost_usd,
        max_latency_s=row.max_latency_s if row.max_latency_s is not None else batch.max_latency_s,
        instructions=row.instructions or batch.instructions,
        reasoning=batch.reasoning if row.reasoning is None else row.reasoning,
        thinking_tokens=row.thinking_tokens or batch.thinking_tokens,
        samples=row.samples or batch.samples,
        vote=row.vote or batch.vote,
        adapter=row.adapter or batch.adapter,
        min_tier=row.min_tier or batch.min_tier,
        max_tier=row.max_tier or batch.max_tier,
        cascade=row.cascade if chooses else batch.cascade,
        escalate=batch.escalate if row.escalate is None else row.escalate,
        min_confidence=batch.min_confidence if row.min_confidence is None else row.min_confidence,
        deadline_s=row.deadline_s or batch.deadline_s,
    )


def is_number(value: object, low: float, high: float) -> bool:
    """Whether a JSON value is a number between two bounds; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
