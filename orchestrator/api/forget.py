"""`/v1/documents/forget`: all that is stored of a document goes."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from orchestrator.api import schemas
from orchestrator.api.auth import Admin
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import serving_of
from orchestrator.errors import Backpressure
from orchestrator.flow import forget
from orchestrator.flow.administer import Actor

router = APIRouter(prefix="/v1", tags=["documents"])

MOST_FORGETTING: Final = 4
"""Of one API process: each reads whole files."""
MOST_OF_TENANT: Final = 1
FULL_RETRY_S: Final = 5.0


@router.post("/documents/forget", openapi_extra=schemas.body_of(schemas.ForgetDocument))
async def forget_document(request: Request, who: Admin) -> Response:
    """Forget a document of the key's tenant: all copies of what was read of it and answered about it. What it cost stays."""
    serving = serving_of(request)
    wanted = checked(schemas.ForgetDocument, await read_object(request))
    actor = Actor(who.owner.tenant_id, f"key_{who.key}")
    full = Backpressure("Too many documents are being forgotten just now. Try again.", retry_after_s=FULL_RETRY_S)
    with serving.forgetting.one(who.owner.tenant_id, most=MOST_FORGETTING, most_of_tenant=MOST_OF_TENANT, full=full):
        found = await serving.submit(forget.forget_document, serving.context, actor, who.owner, wanted.hash)
    return answer(found)
