"""Prepare: one request, checked and routed, as the job that goes into the store. Pure but for a large body's blob."""

from __future__ import annotations

from typing import Any

import orjson

from orchestrator.blobs import BlobStore
from orchestrator.contracts import JobState
from orchestrator.errors import TooLarge
from orchestrator.hints import Hints
from orchestrator.order import run_order
from orchestrator.pricing import ZERO
from orchestrator.requests import Features, engine_body, features_of
from orchestrator.routing import Route, Situation, route
from orchestrator.settings import MIB, Settings
from orchestrator.store.jobs import NewJob


def prepare(
    endpoint: str, body: Any, batch_hints: Hints, now: Situation, settings: Settings, blobs: BlobStore,
    *, public_id: str, row_number: int = 0, custom_id: str | None = None, state: JobState = JobState.QUEUED,
) -> NewJob:  # fmt: skip
    """Check, route and price one request; raises InvalidRequest, UnknownModel or TierUnavailable with the remedy."""
    features = features_of(endpoint, body, batch_hints)
    chosen = route(features, now)
    task = features.hints.task
    learnt = now.lengths.get((task, chosen.model)) if task else None
    content = orjson.dumps(engine_body(body, features.hints))
    if len(content) > settings.max_row_bytes:
        raise TooLarge(f"The body has {len(content)} bytes; at most {settings.max_row_bytes // MIB} MiB are taken.")
    blob_key = None
    if len(content) > settings.inline_body_bytes:
        blob_key = f"bodies/{public_id[:8]}/{public_id}"
        blobs.put(blob_key, content)
    return NewJob(
        public_id=public_id,
        row_number=row_number,
        custom_id=custom_id,
        state=state,
        tier=chosen.tier,
        model=chosen.model,
        endpoint=endpoint,
        rule=chosen.rule,
        task=task,
        prefix_hash=run_order(features, learnt),
        held_usd=chosen.estimate.hold_usd,
        reasons="\n".join(chosen.reasons),
        features=features_json(features, chosen),
        body=None if blob_key else content,
        blob_key=blob_key,
    )


def unreadable(
    endpoint: str, code: str, message: str, default_tier: str, *, public_id: str, row_number: int, custom_id: str | None
) -> NewJob:
    """The job of a row that could not be read: it fails at birth, and its line in the error file says why."""
    return NewJob(
        public_id=public_id, row_number=row_number, custom_id=custom_id, state=JobState.FAILED, tier=default_tier, model="none",
        endpoint=endpoint, rule="unreadable", task=None, prefix_hash=0, held_usd=ZERO, reasons="The row could not be read.",
        features="{}", body=None, fault_code=code, fault_message=message,
    )  # fmt: skip


def features_json(features: Features, chosen: Route) -> str:
    """What routing saw and expected, kept for right-sizing to learn from."""
    seen = {
        "input_tokens": features.input_tokens,
        "max_output_tokens": features.max_output_tokens,
        "images": features.images,
        "audio": features.audio,
        "audio_seconds": str(features.audio_seconds),
        "signals": features.signals,
        "stakes": features.hints.stakes,
        "estimate_usd": str(chosen.estimate.cost_usd),
    }
    return orjson.dumps(seen).decode()
