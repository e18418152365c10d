"""Who calls: `Authorization: Bearer rs_...`, looked up by its SHA-256, and what the key may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from orchestrator.api.serving import serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Unauthorized
from orchestrator.flow.authenticate import Scope, allowed, checked_form, find, hash_of
from orchestrator.store.keys import Identity


async def _identity(request: Request) -> Identity | None:
    headers = request.headers.getlist("authorization")
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized(
            "No API key was given. Send `Authorization: Bearer rs_...`; `rightsize keys create --name NAME` makes a key."
        )
    serving = serving_of(request)
    key_hash = hash_of(checked_form(key.strip()))
    identity, fresh = serving.keys.get(key_hash)
    if not fresh:
        identity = await serving.read(find, serving.context, key_hash)
        serving.keys.put(key_hash, identity)
    return identity


class Allowed(HTTPBearer):
    """Whoever has a key with a scope, as routes ask for it; the API's document says the same of them."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scheme_name="key", description="An API key: `rs_` and 43 characters.")
        self._scope = scope

    async def __call__(self, request: Request) -> Identity:  # type: ignore[override]
        """Who it is; raises Unauthorized or Forbidden."""
        return allowed(await _identity(request), self._scope)


Reading = Annotated[Identity, Security(Allowed("read"), scopes=["read"])]
"""Whoever may read, as routes ask for it that must know whether it is somebody of the house."""


Submitting = Annotated[Identity, Security(Allowed("submit"), scopes=["submit"])]
"""Whoever may hand work in, as routes ask for it that note which key it was."""


async def _submitter(who: Submitting) -> Owner:
    return who.owner


async def _reader(who: Reading) -> Owner:
    return who.owner


Submitter = Annotated[Owner, Depends(_submitter)]
"""The owner of a key that may hand work in, as routes ask for it."""
Reader = Annotated[Owner, Depends(_reader)]
"""The owner of a key that may read."""
Admin = Annotated[Identity, Security(Allowed("admin"), scopes=["admin"])]
"""Whoever may administer the tenant that the key is of, and with a key of the house every tenant."""
