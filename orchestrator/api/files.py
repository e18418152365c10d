"""`/v1/files`: uploads streamed to the blob store, and what batches wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas, uploads
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer
from orchestrator.api.documented import asked
from orchestrator.api.downloads import download
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Conflict, InvalidRequest, NotFound, ServiceUnavailable
from orchestrator.flow.quotas import check_file_bytes
from orchestrator.store import files
from orchestrator.store.files import FileRow, NewFile

router = APIRouter(prefix="/v1/files", tags=["files"])

PURPOSES: Final = ("batch", "user_data")
MOST_LISTED: Final = 10_000


@router.post("", openapi_extra=asked.upload())
async def upload(request: Request, owner: Submitter) -> Response:
    """Store a file: multipart with `purpose` (batch or user_data) and `file`."""
    serving = serving_of(request)
    public_id = ids.uuid7()
    key = f"inputs/{public_id.hex}"
    form = await uploads.receive(serving, request.headers.get("content-type", ""), request.stream(), key)
    try:
        purpose, expires_s = _purpose(form.fields), _expiry(form.fields)
    except InvalidRequest:
        await serving.write(serving.context.blobs.delete, key)
        raise

    def store() -> FileRow:
        with serving.context.database.unit_of_work(owner.tenant_id) as session:
            name = form.filename or "upload"
            check_file_bytes(session, owner, form.size)
            return files.add(session, owner, public_id, NewFile(purpose, name, form.size, key, expires_s))

    try:
        row = await serving.submit(store)
    except ServiceUnavailable:  # it may be stored all the same; if it is not, upkeep finds the blob
        raise
    except BaseException:
        await serving.write(serving.context.blobs.delete, key)
        raise
    return answer(file_object(row))


@router.get("")
async def listed(
    request: Request,
    owner: Reader,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The project's files, the newest first if nothing else is said; `after` names the last one of the page before."""
    serving = serving_of(request)
    return answer(
        await serving.read(_list, serving, owner, after, limit, newest_first=order == "desc", purpose=purpose)
    )


@router.delete("/{file_id}")
async def delete(file_id: str, request: Request, owner: Submitter) -> Response:
    """Delete a file. Batches that were made of it go on; one that still reads it keeps it for so long."""
    serving = serving_of(request)
    key = await serving.submit(_delete, serving, owner, file_id)
    await serving.write(serving.context.blobs.delete, key)
    return answer({"id": file_id, "object": "file", "deleted": True})


@router.get("/{file_id}")
async def show(file_id: str, request: Request, owner: Reader) -> Response:
    """One file's object."""
    serving = serving_of(request)
    return answer(file_object(await serving.read(_find, serving, owner, file_id)))


@router.get("/{file_id}/content")
async def content(file_id: str, request: Request, owner: Reader) -> Response:
    """A file's bytes, or one range of them."""
    serving = serving_of(request)
    row = await serving.read(_find, serving, owner, file_id)
    return await download(request, row.blob_key, row.filename)


def _purpose(fields: Mapping[str, str]) -> str:
    purpose = fields.get("purpose", "")
    if purpose not in PURPOSES:
        raise InvalidRequest(f"`purpose` must be {' or '.join(PURPOSES)}.", param="purpose")
    return purpose


def _expiry(fields: Mapping[str, str]) -> int | None:
    """Seconds until a file expires, as `expires_after[anchor]` and `expires_after[seconds]` say."""
    given = {
        name: fields[f"expires_after[{name}]"] for name in ("anchor", "seconds") if f"expires_after[{name}]" in fields
    }
    if not given:
        return None
    if given.get("anchor") != "created_at":
        raise InvalidRequest(
            "`expires_after[anchor]` must be created_at, with `expires_after[seconds]` beside it.",
            param="expires_after[anchor]",
        )
    seconds = given.get("seconds", "")
    is_whole = seconds.isascii() and seconds.isdigit() and len(seconds) < 9
    if not is_whole or not schemas.LEAST_EXPIRY_S <= int(seconds) <= schemas.MOST_EXPIRY_S:
        raise InvalidRequest(
            f"`expires_after[seconds]` must be a whole number between {schemas.LEAST_EXPIRY_S:,} and {schemas.MOST_EXPIRY_S:,}.",
            param="expires_after[seconds]",
        )
    return int(seconds)


def _list(
    serving: Serving, owner: Owner, after: str | None, limit: int, *, newest_first: bool, purpose: str | None
) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        place = None if after is None else _found(session, owner, after).id
        rows = files.listed(
            session, owner.project_id, purpose=purpose, after=place, newest_first=newest_first, limit=limit + 1
        )
    data = [file_object(row) for row in rows[:limit]]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": ends[0], "last_id": ends[1], "has_more": len(rows) > limit}


def _delete(serving: Serving, owner: Owner, file_id: str) -> str:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        row = _found(session, owner, file_id)
        if files.is_read(session, row.id):
            raise Conflict(
                "A batch is still reading this file. Delete it when the batch is in progress, or cancel the batch."
            )
        files.delete(session, row.id)
    return row.blob_key


def _find(serving: Serving, owner: Owner, file_id: str) -> FileRow:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        return _found(session, owner, file_id)


def _found(session: Session, owner: Owner, file_id: str) -> FileRow:
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
