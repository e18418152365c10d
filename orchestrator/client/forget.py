"""Documents that are to be forgotten."""

from __future__ import annotations

from typing import Final

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import Call, Thing
from orchestrator.client.transport import Transport

WITHIN_S: Final = 3_600.0
"""Whole files are read for it."""


def forget_call(document: str) -> Call:
    """Forgets a document; doing it twice is fine."""
    return Call("POST", "/v1/documents/forget", body={"hash": document}, again=True, within_s=WITHIN_S)


class Forgets:
    """Takes away what is stored of documents."""

    _transport: Transport

    def forget_document(self, document: str) -> Thing:
        """Forget a document by the SHA-256 of its bytes: all that was read of it and answered about it. Needs the scope `admin`."""
        return self._transport.answer(forget_call(document))


class AsyncForgets:
    """The same for asynchronous code."""

    _transport: AsyncTransport

    async def forget_document(self, document: str) -> Thing:
        """Forget a document by the SHA-256 of its bytes; see `Forgets.forget_document`."""
        return await self._transport.answer(forget_call(document))
