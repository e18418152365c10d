"""Who calls: `Authorization: Bearer rs_...`, looked up by its SHA-256."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final

from fastapi import Depends, Request

from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Unauthorized
from orchestrator.store import tenants

_KEY: Final = re.compile(r"rs_[A-Za-z0-9_-]{43}")


async def caller(request: Request) -> Owner:
    """Whose request this is; raises Unauthorized."""
    headers = request.headers.getlist("authorization")
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized(
            "No API key was given. Send `Authorization: Bearer rs_...`; `rightsize keys create --name NAME` makes a key."
        )
    if not _KEY.fullmatch(key.strip()):
        raise Unauthorized(
            "That is no API key of Rightsize: one has rs_ and 43 characters. `rightsize keys create --name NAME` makes a key."
        )
    serving = serving_of(request)
    key_hash = hashlib.sha256(key.strip().encode()).digest()
    owner, fresh = serving.keys.get(key_hash)
    if not fresh:
        owner = await serving.read(_find, serving, key_hash)
        serving.keys.put(key_hash, owner)
    if owner is None:
        raise Unauthorized(
            "This API key is not known, or it was revoked. `rightsize keys create --name NAME` makes another."
        )
    return owner


def _find(serving: Serving, key_hash: bytes) -> Owner | None:
    with serving.context.database.unit_of_work() as session:
        return tenants.find_key(session, key_hash)


Caller = Annotated[Owner, Depends(caller)]
"""The owner of the request's key, as routes ask for it."""
