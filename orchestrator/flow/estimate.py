"""Estimate: what a batch would cost, use and take, read from its file as submitting would read it; nothing is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final
from uuid import UUID

from orchestrator import ids
from orchestrator.contracts import Owner, Tier
from orchestrator.eligibility import Situation
from orchestrator.eligibility import estimate as expected
from orchestrator.errors import InvalidRequest, NotFound, Refused, TooLarge
from orchestrator.fleet import Model
from orchestrator.flow.context import Context
from orchestrator.flow.documents import Work, is_document, requests_of
from orchestrator.flow.lines import bounded_lines
from orchestrator.flow.prepare import seen
from orchestrator.flow.rows import RowError, RowParser
from orchestrator.flow.tasks import Version
from orchestrator.forecasting import Forecast, Rows, forecast
from orchestrator.forecasting.cascades import GoingOn
from orchestrator.hints import Hints, window_seconds
from orchestrator.requests import Features
from orchestrator.routing import alternatives, route
from orchestrator.store import files, history

MOST_ROWS: Final = 100_000
"""Of a file that is estimated: each row is routed, and priced on every tier, while its caller waits."""
WINDOW: Final = "24h"
"""Of a batch whose caller names none."""


@dataclass(slots=True)
class Counted:
    """The rows of a file, as they would be routed, and what each tier could take of them."""

    rows: int = 0
    invalid: int = 0
    routed: Rows = field(default_factory=Rows)
    on: dict[Tier, Rows] = field(default_factory=dict)
    """By tier: the rows that its default model could serve."""
    cascades: GoingOn = field(default_factory=lambda: GoingOn({}))


@dataclass(frozen=True, slots=True)
class Estimated:
    """What was found out of a file."""

    rows: int
    invalid_rows: int
    told: Forecast
    alternatives: Mapping[Tier, Forecast]
    window: str
    """How long the batch would have."""

    @property
    def late(self) -> str | None:
        """What is said of a batch that may not end within its window; None of one that should."""
        window_s, seconds = window_seconds(self.window), self.told.whole.seconds
        if seconds.high <= window_s:
            return None
        will = "is expected to take" if seconds.expected > window_s else "may take"
        about_s = math.ceil(seconds.expected if seconds.expected > window_s else seconds.high)
        return (
            f"It {will} about {about_s:,} s, and has {window_s:,.0f} s ({self.window}): rows that have not run by then expire. "
            "Give it a longer completion_window, fewer rows or a faster tier, or add workers."
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the batch would be made with."""

    endpoint: str
    hints: Hints
    window: str = WINDOW
    version: Version | None = None
    """Of the task of its documents."""


def estimate_batch(context: Context, owner: Owner, file_id: UUID, asked: Asked) -> Estimated:
    """The forecast of a file's rows as a batch, and of those of them that each tier could serve. Raises NotFound or TooLarge."""
    window_seconds(asked.window)
    with context.database.unit_of_work(owner.tenant_id) as session:
        file = files.find(session, owner.tenant_id, file_id)
    if file is None:
        raise NotFound(
            f"There is no file {ids.public('file', file_id)}. Upload it with purpose=batch first.",
            param="input_file_id",
        )
    now = context.situation(owner.tenant_id)
    with context.house.unit_of_work() as session:
        counted = Counted(cascades=GoingOn(history.rejections(session, owner.tenant_id)))
    work = None if asked.version is None else Work(owner, asked.version, asked.hints, refresh=False)
    with context.blobs.reading(file.blob_key) as source:
        for body in _bodies(context, source, asked.endpoint, counted):
            _count(body, asked, work, now, counted)
    if counted.rows == counted.invalid:
        raise InvalidRequest("The file has no row that could be run. `rightsize submit` tells what is wrong with each.")
    models = now.fleet.models
    with context.house.unit_of_work() as session:
        known = history.histories(session, owner.tenant_id)
        loads = history.loads(session, owner, models, context.settings.lease_s)
    cards = {model.name: model.card_on(now.day) for model in models}
    told = {tier: forecast(rows, known, cards, loads) for tier, rows in counted.on.items()}
    return Estimated(counted.rows, counted.invalid, forecast(counted.routed, known, cards, loads), told, asked.window)


def _bodies(context: Context, source: BinaryIO, endpoint: str, counted: Counted) -> Iterator[Any]:
    """The bodies of a file's rows; rows without a good one are counted, and left out."""
    settings = context.settings
    parser = RowParser(endpoint, settings.max_row_bytes, settings.max_json_depth)
    for line in bounded_lines(source, settings.max_row_bytes):
        counted.rows += 1
        if counted.rows > MOST_ROWS:
            raise TooLarge(
                f"At most {MOST_ROWS:,} rows are estimated at once. Estimate a part of the file, such as its first rows."
            )
        try:
            yield parser.parsed(line).body
        except RowError:
            counted.invalid += 1


def _count(body: Any, asked: Asked, work: Work | None, now: Situation, counted: Counted) -> None:
    try:
        for one, hints in _requests(body, asked.hints, work, now):
            _add(counted, seen(asked.endpoint, one, hints)[1], now)
    except (Refused, UnicodeEncodeError):
        counted.invalid += 1


def _requests(body: Any, hints: Hints, work: Work | None, now: Situation) -> list[tuple[Any, Hints]]:
    """The requests that a row becomes: itself, or those of its document."""
    if not is_document(body):
        return [(body, hints)]
    if work is None:
        raise InvalidRequest("A document needs a task that says what is to be done with it: give `rightsize.task`.")
    return requests_of(work, body, now)


def _add(counted: Counted, features: Features, now: Situation) -> None:
    chosen = route(features, now)
    counted.routed.add(features, now.fleet.named(chosen.model), chosen.estimate)
    asked = chosen.model
    for name in chosen.cascade:
        if not counted.cascades.goes_on(features.hints.task, asked):
            break
        model = now.fleet.named(name)
        counted.routed.add(features, model, expected(features, model, now.day), again=True)
        asked = name
    for one in alternatives(features, now):
        served: Model = now.fleet.named(one.model)
        if one.problem is None and now.fleet.is_default(served):
            counted.on.setdefault(one.tier, Rows()).add(features, served, one.estimate)


def as_object(found: Estimated) -> dict[str, Any]:
    """The estimate as callers see it."""
    return {
        "object": "estimate",
        "rows": found.rows,
        "invalid_rows": found.invalid_rows,
        "completion_window": found.window,
        "late": found.late,
        "interval": 0.8,
        "input_tokens_by": "UTF-8 length / 4, mended by what this tenant's finished jobs have read",
        "basis": [
            {
                "tier": one.tier, "model": one.model, "task": one.task, "jobs": one.jobs, "basis": one.basis,
                "seen_jobs": one.seen_jobs, "seen_groups": one.seen_groups,
            }
            for one in found.told.grounds
        ],
        "total": _figures(found.told.whole),
        "tiers": {str(tier): _figures(one) for tier, one in found.told.tiers.items()},
        "alternatives": {str(tier): _figures(one.whole) for tier, one in found.alternatives.items()},
    }  # fmt: skip


def _figures(one: Any) -> dict[str, Any]:
    return {
        "jobs": one.jobs,
        "expected_failures": round(one.failed, 2),
        "input_tokens": _bounds(one.input_tokens),
        "output_tokens": _bounds(one.output_tokens),
        "cost_usd": {name: f"{getattr(one.cost_usd, name):f}" for name in ("expected", "low", "high")},
        "at_most_usd": f"{one.at_most_usd:f}",
        "seconds": {name: round(getattr(one.seconds, name), 3) for name in ("expected", "low", "high")},
    }


def _bounds(one: Any) -> dict[str, int]:
    return {name: round(getattr(one, name)) for name in ("expected", "low", "high")}
