"""Claimed jobs for tests that run them without a store."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import orjson

from orchestrator.contracts import ClaimedJob, Owner

CHAT = "/v1/chat/completions"
_numbers = count(1)


def claimed(
    body: dict[str, Any] | None = None, *, endpoint: str = CHAT, attempt: int = 1, seconds_left: float = 60.0, public_id: str = ""
) -> ClaimedJob:  # fmt: skip
    """An interactive job; one that streams unless its body says otherwise."""
    asked = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": True, **(body or {})}
    number = next(_numbers)
    return ClaimedJob(
        id=number, public_id=public_id or uuid4().hex, owner=Owner(1, 1, 1), batch_id=0, dispatch_id=number, attempt=attempt, tier="llm",
        model="house", endpoint=endpoint, task=None, price_version=1, policy_version=1, fleet_version=1, interactive=True,
        deadline=datetime.now(UTC), seconds_left=seconds_left, held_usd=Decimal(1), stored_on=date(2026, 1, 1), body=orjson.dumps(asked),
    )  # fmt: skip
