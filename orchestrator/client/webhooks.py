"""Webhooks: endpoints that are told of events, and what was sent to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, cast

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import Call, Thing, get, path_of
from orchestrator.client.transport import Transport

ENDPOINTS: Final = "/v1/webhook_endpoints"
DELIVERIES: Final = "/v1/webhook_deliveries"
PAGE: Final = 100
SLOW_S: Final = 60.0
"""A test waits for its receiver."""


def create_call(url: str, events: Sequence[str], name: str) -> Call:
    """Makes an endpoint."""
    return Call("POST", ENDPOINTS, body={"name": name, "url": url, "event_types": list(events)})


def change_call(endpoint_id: str, url: str | None, events: Sequence[str] | None, name: str | None) -> Call:
    """Changes an endpoint."""
    body = {"name": name, "url": url, "event_types": None if events is None else list(events)}
    return Call("POST", path_of("webhook_endpoints", endpoint_id), body=body, again=True)


def delete_call(endpoint_id: str) -> Call:
    """Deletes an endpoint."""
    return Call("DELETE", path_of("webhook_endpoints", endpoint_id), again=True)


def rotate_call(endpoint_id: str, *, keep_old: bool) -> Call:
    """Gives an endpoint another secret."""
    body = {"keep_old_secret_active_for_24_hours": keep_old}
    return Call("POST", path_of("webhook_endpoints", endpoint_id, "rotate_secret"), body=body)


def test_call(endpoint_id: str, event: str) -> Call:
    """Sends a sample."""
    return Call("POST", path_of("webhook_endpoints", endpoint_id, "test"), body={"event_type": event}, within_s=SLOW_S)


def replay_call(delivery_id: str) -> Call:
    """Sends an event once more."""
    return Call("POST", path_of("webhook_deliveries", delivery_id, "replay"), again=True)


class Webhooks:
    """What `Rightsize.webhooks` offers. Messages are signed as Standard Webhooks has it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def event_types(self) -> list[str]:
        """The events that an endpoint may be told of."""
        return cast("list[str]", self._transport.answer(get("/v1/webhook_event_types"))["data"])

    def list(self) -> Iterator[Thing]:
        """Every endpoint of the project, the newest first."""
        return self._transport.listed(ENDPOINTS, PAGE)

    def create(self, url: str, events: Sequence[str], *, name: str) -> Thing:
        """Make an endpoint; `signing_secret` is told this once."""
        return self._transport.answer(create_call(url, events, name))

    def show(self, endpoint_id: str) -> Thing:
        """One endpoint."""
        return self._transport.answer(get(path_of("webhook_endpoints", endpoint_id)))

    def change(
        self, endpoint_id: str, *, url: str | None = None, events: Sequence[str] | None = None, name: str | None = None
    ) -> Thing:
        """Change an endpoint; one that was disabled is told again."""
        return self._transport.answer(change_call(endpoint_id, url, events, name))

    def delete(self, endpoint_id: str) -> Thing:
        """Delete an endpoint with all that was on its way to it."""
        return self._transport.answer(delete_call(endpoint_id))

    def rotate_secret(self, endpoint_id: str, *, keep_old: bool = False) -> Thing:
        """Give an endpoint another secret, told this once; with `keep_old` both sign for a day."""
        return self._transport.answer(rotate_call(endpoint_id, keep_old=keep_old))

    def test(self, endpoint_id: str, *, event: str = "rightsize.webhook.test") -> Thing:
        """Send a sample now, once; `status_code` is the receiver's. Raises ServiceUnavailable where it did not answer."""
        return self._transport.answer(test_call(endpoint_id, event))

    def deliveries(self, *, endpoint: str | None = None, dead: bool = False) -> Iterator[Thing]:
        """What was sent or is on its way, the newest first; `dead` are those that were given up."""
        return self._transport.listed(DELIVERIES, PAGE, {"endpoint": endpoint, "dead": "true" if dead else None})

    def replay(self, delivery_id: str) -> Thing:
        """Send an event once more from the beginning, whatever became of it."""
        return self._transport.answer(replay_call(delivery_id))


class AsyncWebhooks:
    """The same for asynchronous code."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def event_types(self) -> list[str]:
        """The events that an endpoint may be told of."""
        return cast("list[str]", (await self._transport.answer(get("/v1/webhook_event_types")))["data"])

    def list(self) -> AsyncIterator[Thing]:
        """Every endpoint of the project, the newest first."""
        return self._transport.listed(ENDPOINTS, PAGE)

    async def create(self, url: str, events: Sequence[str], *, name: str) -> Thing:
        """Make an endpoint; `signing_secret` is told this once."""
        return await self._transport.answer(create_call(url, events, name))

    async def show(self, endpoint_id: str) -> Thing:
        """One endpoint."""
        return await self._transport.answer(get(path_of("webhook_endpoints", endpoint_id)))

    async def change(
        self, endpoint_id: str, *, url: str | None = None, events: Sequence[str] | None = None, name: str | None = None
    ) -> Thing:
        """Change an endpoint; one that was disabled is told again."""
        return await self._transport.answer(change_call(endpoint_id, url, events, name))

    async def delete(self, endpoint_id: str) -> Thing:
        """Delete an endpoint with all that was on its way to it."""
        return await self._transport.answer(delete_call(endpoint_id))

    async def rotate_secret(self, endpoint_id: str, *, keep_old: bool = False) -> Thing:
        """Give an endpoint another secret, told this once; with `keep_old` both sign for a day."""
        return await self._transport.answer(rotate_call(endpoint_id, keep_old=keep_old))

    async def test(self, endpoint_id: str, *, event: str = "rightsize.webhook.test") -> Thing:
        """Send a sample now, once; `status_code` is the receiver's. Raises ServiceUnavailable where it did not answer."""
        return await self._transport.answer(test_call(endpoint_id, event))

    def deliveries(self, *, endpoint: str | None = None, dead: bool = False) -> AsyncIterator[Thing]:
        """What was sent or is on its way, the newest first; `dead` are those that were given up."""
        return self._transport.listed(DELIVERIES, PAGE, {"endpoint": endpoint, "dead": "true" if dead else None})

    async def replay(self, delivery_id: str) -> Thing:
        """Send an event once more from the beginning, whatever became of it."""
        return await self._transport.answer(replay_call(delivery_id))
