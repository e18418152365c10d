"""The policy: how jobs are routed and retried. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from orchestrator.contracts import Tier
from orchestrator.fleet.model import Count, Seconds, Strict


class Thresholds(Strict):
    """Where the decision tree draws its lines."""

    complex_signals: Count = 3
    """So many signals of complexity make a request need deep analysis."""
    long_input_tokens: Count = 6_000


class Policy(Strict):
    """How jobs are routed and retried."""

    default_tier: Tier = Tier.LLM
    fallbacks: Mapping[Tier, tuple[Tier, ...]] = Field(
        default_factory=lambda: {
            Tier.SLM: (Tier.LLM, Tier.RLM),
            Tier.LLM: (Tier.RLM, Tier.MLLM),
            Tier.RLM: (Tier.LLM,),
            Tier.MLLM: (),
        }
    )
    """Where a job goes whose tier the fleet lacks or a bound excludes, in order."""
    thresholds: Thresholds = Thresholds()
    max_attempts: Count = Field(default=4, le=20)
    retry_base_s: Seconds = 1.0
    retry_max_s: Seconds = 120.0
