"""What both transports have: the service's address, how long it is borne, and our words for what the network does wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from orchestrator.client.address import checked_url, network_error
from orchestrator.client.call import Call, Thing
from orchestrator.client.patience import AWAY_AT_MOST_S, TRIES, Patience, Telling


class Link:
    """One service, as a client sees it."""

    def __init__(
        self, base_url: str, timeout_s: float, connect_s: float, on_wait: Callable[[str], None] | None
    ) -> None:
        self.base_url = checked_url(base_url)
        self.timeout_s = timeout_s
        self._connect_s = connect_s
        self._telling = Telling(on_wait)

    def patience(self, call: Call) -> Patience:
        """How often and how long a call is sent again."""
        return Patience(self._telling, tries=TRIES if call.again else 1, within_s=call.within_s or self.timeout_s)

    def persistence(self) -> Patience:
        """How often what takes long is begun again: as often as anything comes in between."""
        return Patience(self._telling, tries=TRIES, within_s=AWAY_AT_MOST_S)

    def waiting(self) -> Patience:
        """What is borne by who waits for an end: as many tries as it takes, while the service is not away for too long."""
        return Patience(self._telling, tries=float("inf"), within_s=AWAY_AT_MOST_S)

    def timeout(self, call: Call) -> httpx2.Timeout:
        """How long the service may be silent. For a free connection of our own we wait as long as it takes."""
        within_s = call.within_s or self.timeout_s
        return httpx2.Timeout(within_s, connect=min(self._connect_s, within_s), pool=None)

    def heard(self, told: Thing) -> Thing:
        """What was answered, as it is: the next silence is told anew."""
        self._telling.answered()
        return told

    @contextmanager
    def told(self) -> Iterator[None]:
        """What the network did wrong, in words of ours."""
        try:
            yield
        except httpx2.TransportError as error:
            raise network_error(self.base_url, error) from error
