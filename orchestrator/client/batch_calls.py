"""The calls that make, steer and estimate batches. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.client.call import ANSWER_WITHIN_S, Call, get, path_of
from orchestrator.errors import NotFound

BATCHES: Final = "/v1/batches"
ESTIMATED_FOR_S: Final = 3_600
"""How long a file is kept that was uploaded for its estimate, should deleting it fail."""


def create_call(
    input_file_id: str, endpoint: str, completion_window: str, metadata: Mapping[str, str] | None,
    rightsize: Mapping[str, Any] | None, key: str | None,
) -> Call:  # fmt: skip
    """Makes a batch of an uploaded file."""
    body = {
        "input_file_id": input_file_id, "endpoint": endpoint, "completion_window": completion_window,
        "metadata": metadata, "rightsize": rightsize,
    }  # fmt: skip
    return Call("POST", BATCHES, body=body, key=key or uuid.uuid4().hex, again=True)


def estimate_call(input_file_id: str, endpoint: str, rightsize: Mapping[str, Any] | None) -> Call:
    """Asks what a batch would take; each row is routed and priced meanwhile."""
    body = {"input_file_id": input_file_id, "endpoint": endpoint, "rightsize": rightsize}
    return Call("POST", f"{BATCHES}/estimate", body=body, again=True, within_s=ANSWER_WITHIN_S)


def batch_call(batch_id: str) -> Call:
    """Reads a batch."""
    return get(path_of("batches", batch_id))


def step_call(batch_id: str, step: str) -> Call:
    """Cancels or pauses a batch: doing so twice is fine."""
    return Call("POST", path_of("batches", batch_id, step), again=True)


def resume_call(batch_id: str, max_cost_usd: str | None) -> Call:
    """Goes on with a batch."""
    return Call("POST", path_of("batches", batch_id, "resume"), body={"max_cost_usd": max_cost_usd}, again=True)


def retry_call(batch_id: str, tier: str, only: str | None, completion_window: str, key: str | None) -> Call:
    """Runs the failed rows of a batch again; they are written into a file meanwhile."""
    body = {"tier": tier, "only": only, "completion_window": completion_window}
    path = path_of("batches", batch_id, "retry")
    return Call("POST", path, body=body, key=key or uuid.uuid4().hex, again=True, within_s=ANSWER_WITHIN_S)


def without_order(batch_id: str) -> NotFound:
    """What is said where the input of a batch is gone, and with it the order of its rows."""
    return NotFound(
        f"The input file of {batch_id} is gone, and with it the order of its rows: read the results without in_order."
    )
