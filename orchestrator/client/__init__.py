"""The Python client: light, so that it can live in any service."""

from orchestrator.client.asynchronous import AsyncRightsize
from orchestrator.client.batch import AsyncBatch, Batch
from orchestrator.client.client import Rightsize
from orchestrator.client.shapes import Estimate, Price, Progress, Usage, UsageRow
from orchestrator.client.streams import AsyncStream, Stream

__all__ = [
    "AsyncBatch", "AsyncRightsize", "AsyncStream", "Batch", "Estimate", "Price", "Progress", "Rightsize", "Stream", "Usage", "UsageRow",
]  # fmt: skip
