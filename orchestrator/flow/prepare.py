"""Prepare: one request, checked and routed, as the job that goes into the store. Pure but for a large body's blob."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from orchestrator.contracts import ACCEPT, ASKED, HELD_TO, JobState
from orchestrator.eligibility import Situation
from orchestrator.errors import TooLarge
from orchestrator.flow.context import Context
from orchestrator.forecasting import readings
from orchestrator.hints import Hints, check_no_deadline
from orchestrator.order import run_order
from orchestrator.pricing import ZERO
from orchestrator.promotion import CERTIFIED, Promotion, drawn
from orchestrator.requests import CHAT, RESPONSES, Features, engine_body, features_of
from orchestrator.responses.request import to_chat
from orchestrator.routing import Route, route
from orchestrator.settings import MIB
from orchestrator.store.jobs import NewJob

BOUNDS: Final = ("min_tier", "max_tier", "max_cost_usd", "max_latency_s")
"""Hints that bound where a request may run, and what it may cost."""


@dataclass(frozen=True, slots=True)
class About:
    """The document that a request is about."""

    document: Mapping[str, Any]
    """What results say of it."""
    held: Mapping[str, Any]
    """What the answer is held to beyond its form."""


def prepare(
    context: Context, endpoint: str, body: Any, batch_hints: Hints, now: Situation,
    *, public_id: str, row_number: int = 0, custom_id: str | None = None, interactive: bool = False,
    about: About | None = None,
) -> NewJob:  # fmt: skip
    """Check, route and price one request; what it can cost at most is held for a single one, what it is expected to for a batch's row.

    `about` is the document that it is about. Raises InvalidRequest, UnknownModel or TierUnavailable with the remedy.
    """
    settings = context.settings
    asked, features = seen(endpoint, body, batch_hints, streams=interactive)
    if custom_id is not None:
        check_no_deadline(features.hints)
    chosen = route(features, now, random.random(), context.adviser.on(asked, features))  # noqa: S311 - a sample, not a secret
    task = features.hints.task
    promotion = now.promotions.get(task) if task else None
    learnt = now.lengths.get((task, chosen.model)) if task else None
    stored = _stored(endpoint, body, engine_body(asked, features.hints))
    if about is not None:
        stored = {**stored, HELD_TO: about.held}
    if accept := _accept(features.hints, chosen, promotion):
        stored = {**stored, ACCEPT: accept}
    content = orjson.dumps(stored)
    if len(content) > settings.max_row_bytes:
        raise TooLarge(f"The body has {len(content)} bytes; at most {settings.max_row_bytes // MIB} MiB are taken.")
    blob_key = None
    if len(content) > settings.inline_body_bytes:
        blob_key = f"bodies/{public_id[:8]}/{public_id}"
        context.blobs.put(blob_key, content)
    return NewJob(
        public_id=public_id,
        row_number=row_number,
        custom_id=custom_id,
        state=JobState.ASSIGNED if interactive else JobState.QUEUED,
        tier=chosen.tier,
        model=chosen.model,
        endpoint=endpoint,
        rule=chosen.rule,
        task=task,
        prefix_hash=run_order(features, learnt),
        held_usd=chosen.estimate.hold_usd if custom_id is None else chosen.estimate.cost_usd,
        worst_usd=chosen.estimate.hold_usd,
        reasons="\n".join(chosen.reasons),
        features=features_json(features, chosen, about.document if about else None),
        body=None if blob_key else content,
        blob_key=blob_key,
        cascade=chosen.cascade,
        drawn=drawn(promotion, chosen.rule, chosen.model, random.random()),  # noqa: S311 - a sample, not a secret
        within_s=features.hints.deadline_s,
    )


def _accept(hints: Hints, chosen: Route, promotion: Promotion | None) -> dict[str, object] | None:
    """From which score on an answer is accepted: as the certificate says, or the caller of a cascade."""
    if chosen.rule == CERTIFIED and promotion is not None:
        return promotion.accept()
    if chosen.cascade and hints.min_confidence is not None:
        return {"at": hints.min_confidence}
    return None


def seen(endpoint: str, body: Any, batch_hints: Hints, *, streams: bool = False) -> tuple[Any, Features]:
    """A body as engines are asked it, and what routing sees of it; raises InvalidRequest with the remedy."""
    asked = to_chat(body) if endpoint == RESPONSES and isinstance(body, dict) else body
    return asked, features_of(CHAT if endpoint == RESPONSES else endpoint, asked, batch_hints, streams=streams)


def _stored(endpoint: str, body: Mapping[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """What the worker gets; of a response also how it was asked for, since that stands in the answer."""
    return (
        {**content, ASKED: {name: value for name, value in body.items() if name != "input"}}
        if endpoint == RESPONSES
        else content
    )


def unreadable(
    endpoint: str, code: str, message: str, default_tier: str, *, public_id: str, row_number: int, custom_id: str | None
) -> NewJob:
    """The job of a row that could not be read: it fails at birth, and its line in the error file says why."""
    return NewJob(
        public_id=public_id, row_number=row_number, custom_id=custom_id, state=JobState.FAILED, tier=default_tier, model="none",
        endpoint=endpoint, rule="unreadable", task=None, prefix_hash=0, held_usd=ZERO, worst_usd=ZERO, reasons="The row could not be read.",
        features="{}", body=None, fault_code=code, fault_message=message,
    )  # fmt: skip


def features_json(features: Features, chosen: Route, document: Mapping[str, Any] | None = None) -> str:
    """What routing saw and expected, kept for right-sizing to learn from, and which document it is about."""
    seen: dict[str, Any] = {
        "input_tokens": features.input_tokens,
        "max_output_tokens": features.max_output_tokens,
        "choices": features.choices,
        "readings": readings(features),
        "images": features.images,
        "audio": features.audio,
        "audio_seconds": str(features.audio_seconds),
        "signals": features.signals,
        "stakes": features.hints.stakes,
        "estimate_usd": str(chosen.estimate.cost_usd),
    }
    if bounds := _bounds(features.hints):
        seen["bounds"] = bounds
    return orjson.dumps(seen if document is None else {**seen, "document": document}).decode()


def _bounds(hints: Hints) -> dict[str, Any]:
    """The caller's bounds, for when the same is tried again."""
    told = {name: getattr(hints, name) for name in BOUNDS}
    return {
        name: str(value) if isinstance(value, Decimal) else value for name, value in told.items() if value is not None
    }
