"""Whether an answer of a cascade is accepted: by its score, where a certificate or the caller says from which one on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from orchestrator.contracts import CONFIDENCE, SCORE, Answer, ClaimedJob, Usage
from orchestrator.errors import EngineFault


class NotAccepted(EngineFault):
    """An answer that its model is not sure enough of. It was paid for all the same, and the next model takes over."""

    def __init__(self, why: str, usage: Usage, detail: str) -> None:
        """`detail` is the score and the least that is accepted, as JSON."""
        super().__init__(why, code="not_accepted", retryable=False, http_status=422)
        self.usage, self.detail = usage, detail


def check(job: ClaimedJob, answer: Answer, accept: Mapping[str, Any]) -> None:
    """Raise NotAccepted for an answer below the least score, while there is a model that can take over.

    A certificate speaks of one model: what takes over from it is not held to its threshold.
    """
    if not job.cascade or accept.get("model", job.model) != job.model:
        return
    least, found = float(accept["at"]), score(answer.body)
    if found is not None and found >= least:
        return
    told = "tells nothing by which it could be accepted" if found is None else f"has the score {found:.4f}"
    why = f"The answer of {job.model} {told}; it is accepted from {least:.4f} on."
    raise NotAccepted(why, answer.usage, orjson.dumps({"score": found, "least": least}).decode())


def score(body: Mapping[str, Any]) -> float | None:
    """How sure a model is of its answer, from 0 to 1: a specialist's own score, or the mean probability of its tokens where it tells them."""
    own = body.get(SCORE, body.get(CONFIDENCE))
    if isinstance(own, (int, float)) and math.isfinite(own):
        return float(own)
    chosen = (body.get("choices") or [{}])[0]
    tokens = (chosen.get("logprobs") or {}).get("content") or [] if isinstance(chosen, Mapping) else []
    told = [one["logprob"] for one in tokens if isinstance(one.get("logprob"), (int, float))]
    return math.exp(sum(told) / len(told)) if told else None
