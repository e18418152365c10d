"""The Python client: light, so that it can live in any service."""

from orchestrator.client.asynchronous import AsyncRightsize
from orchestrator.client.client import Rightsize

__all__ = ["AsyncRightsize", "Rightsize"]
