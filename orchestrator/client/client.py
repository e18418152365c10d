"""The synchronous client. Everything that is large goes through in pieces."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from orchestrator.client.administration import Administration
from orchestrator.client.asking import Asking
from orchestrator.client.documents import DocumentVerbs
from orchestrator.client.forget import Forgets
from orchestrator.client.insight import Insight
from orchestrator.client.jobs import Jobs
from orchestrator.client.review import Reviews
from orchestrator.client.transport import Transport
from orchestrator.client.webhooks import Webhooks


class Rightsize(DocumentVerbs, Jobs, Reviews, Forgets, Asking, Insight):
    """A Rightsize service: `with Rightsize("http://127.0.0.1:8000", key) as rightsize: ...`.

    Every method raises errors of `orchestrator.errors`: ServiceUnavailable where the service does not answer, JobFailed where
    a job failed that was waited for, otherwise the class that the service itself raised. A URL or key that cannot be one is
    refused at once, by `Refused`. `on_wait` is told once, with the reason, when a service that does not answer is being tried
    again for a while. Threads may share a client.
    """

    def __init__(
        self, base_url: str, api_key: str, timeout_s: float = 60.0, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        self._transport = Transport(base_url, api_key, timeout_s, on_wait)
        self.admin = Administration(self._transport)
        self.webhooks = Webhooks(self._transport)

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
