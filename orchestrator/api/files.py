"""`/v1/files`: uploads streamed to the blob store, and what batches wrote."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from orchestrator import ids
from orchestrator.api import schemas, uploads
from orchestrator.api.auth import Caller
from orchestrator.api.bodies import answer
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.store import files
from orchestrator.store.files import FileRow

router = APIRouter(prefix="/v1/files", tags=["files"])

PURPOSES: Final = ("batch", "user_data")


@router.post("", openapi_extra=schemas.UPLOAD_FORM)
async def upload(request: Request, owner: Caller) -> Response:
    """Store a file: multipart with `purpose` (batch or user_data) and `file`."""
    serving = serving_of(request)
    public_id = ids.uuid7()
    key = f"inputs/{public_id.hex}"
    form = await uploads.receive(serving, request.headers.get("content-type", ""), request.stream(), key)
    purpose = form.fields.get("purpose", "")
    if purpose not in PURPOSES:
        await serving.write(serving.context.blobs.delete, key)
        raise InvalidRequest(f"`purpose` must be {' or '.join(PURPOSES)}.", param="purpose")

    def store() -> FileRow:
        with serving.context.database.unit_of_work() as session:
            name = form.filename or "upload"
            return files.add(session, owner, public_id, purpose=purpose, filename=name, size=form.size, blob_key=key)

    try:
        row = await serving.submit(store)
    except BaseException:
        await serving.write(serving.context.blobs.delete, key)
        raise
    return answer(file_object(row))


@router.get("/{file_id}")
async def show(file_id: str, request: Request, owner: Caller) -> Response:
    """One file's object."""
    serving = serving_of(request)
    return answer(file_object(await serving.read(_find, serving, owner, file_id)))


@router.get("/{file_id}/content")
async def content(file_id: str, request: Request, owner: Caller) -> Response:
    """A file's bytes."""
    serving = serving_of(request)
    row = await serving.read(_find, serving, owner, file_id)
    path = await serving.read(serving.context.blobs.path, row.blob_key)
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="application/octet-stream", filename=row.filename, headers=headers)


def _find(serving: Serving, owner: Owner, file_id: str) -> FileRow:
    with serving.context.database.unit_of_work() as session:
        row = files.find(session, owner.tenant_id, ids.parse("file", file_id))
    if row is None:
        raise NotFound(f"There is no file {file_id[:80]!r}.")
    return row


def file_object(row: FileRow) -> dict[str, Any]:
    """A file as OpenAI's clients read it."""
    return {
        "id": ids.public("file", row.public_id),
        "object": "file",
        "bytes": row.bytes,
        "created_at": int(row.created_at.timestamp()),
        "expires_at": int(row.expires_at.timestamp()) if row.expires_at else None,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
    }
