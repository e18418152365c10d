"""The fleet (which model serves which tier) and the policy, as read from `rightsize.toml`."""

from orchestrator.fleet.config import Config, Fleet, load, parse
from orchestrator.fleet.model import Model, Reasoning, Weights
from orchestrator.fleet.policy import Policy

__all__ = ["Config", "Fleet", "Model", "Policy", "Reasoning", "Weights", "load", "parse"]
