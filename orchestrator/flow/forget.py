"""Forget: all that is stored of a document and of the answers about it goes; what it cost stays.

Its jobs are cancelled, then emptied chunk by chunk, then its lines are taken out of files: each file is written anew without them. Whoever
is killed in between has lost nothing: it is run again, and goes on with what is left; blobs that no row names any more are files that are
gone, which upkeep erases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import JobState, Owner
from orchestrator.crashpoints import reached
from orchestrator.errors import Conflict, NotFound
from orchestrator.flow import cancel
from orchestrator.flow.administer import Actor
from orchestrator.flow.context import Context
from orchestrator.flow.erasing import deleted
from orchestrator.store import files, forget, tenants
from orchestrator.store.forget import CODE, TOLD, Doomed, Taken

KEPT: Final = (
    "task", "task_version", "reused", "pieces", "tier", "model", "rule", "attempts", "cost_usd", "simulated", "engine_s",
)  # fmt: skip
"""What a line says of a document that was forgotten."""
AGAIN: Final = "Run it again in a moment: it goes on with what is left."


@dataclass(slots=True)
class Forgetting:
    """One document on its way out."""

    context: Context
    owner: Owner
    document: bytes
    taken: Taken = field(default_factory=Taken)
    files: list[str] = field(default_factory=list)

    def step(self, work: Callable[[Session], Taken | None]) -> bool:
        """Do some work in a transaction of its own, and count it; False where there was nothing left to do."""
        with self.context.database.unit_of_work(self.owner.tenant_id) as session:
            taken = work(session)
        self.taken = self.taken.plus(taken or Taken())
        return taken is not None


def forget_document(context: Context, actor: Actor, owner: Owner, digest: str) -> dict[str, Any]:
    """Forget a document by the SHA-256 of its bytes, in one tenant; returns how much was taken. Forgetting twice is fine.

    Raises Conflict while a batch with it is read or written, or somebody forgets for the tenant already.
    """
    one = Forgetting(context, owner, bytes.fromhex(digest))
    with context.database.locked(f"forget:{owner.tenant_id}") as free:
        if not free:
            raise Conflict(f"A document of the tenant is being forgotten just now. {AGAIN}")
        one.step(lambda session: _log(session, actor, digest, "document.forgetting", {}))
        _must_not_be(one, ["validating"])
        # Until a look for both finds neither: a question of ours about it may have come before its rows were locked.
        while one.step(lambda session: _cancel(session, one)) or _empty(one):
            pass
        _clean_files(one)
        told = {**one.taken.told(), "files": len(one.files)}
        one.step(lambda session: _log(session, actor, digest, "document.forgotten", told))
    context.broker.wake("sweep")
    return {"object": "forgotten_document", "hash": digest, "taken": one.taken.told(), "files": one.files}


def _log(session: Session, actor: Actor, digest: str, action: str, detail: dict[str, Any]) -> None:
    tenants.log_act(session, actor.tenant_id, actor=actor.name, action=action, target=f"sha256:{digest}", detail=detail)


def _must_not_be(one: Forgetting, states: list[str]) -> None:
    """Raise Conflict while a batch with the document is in one of some states: what is read or written now may hold it."""
    with one.context.database.unit_of_work(one.owner.tenant_id) as session:
        found = forget.busy(session, one.owner.tenant_id, one.document, states)
    if found is not None:
        raise Conflict(f"{ids.public('batch', found[0])} holds the document and is {found[1]}. {AGAIN}")


def _cancel(session: Session, one: Forgetting) -> Taken | None:
    swept = forget.cancel(session, one.owner.tenant_id, one.document)
    cancel.book(session, swept, JobState.CANCELLED)
    return Taken(cancelled=len(swept)) if swept else None


def _empty(one: Forgetting) -> bool:
    """Empty a chunk of jobs, then erase their blobs."""
    doomed: list[Doomed] = []

    def work(session: Session) -> Taken | None:
        found = forget.empty(session, one.owner, one.document)
        if found is None:
            return None
        doomed.append(found[1])
        return found[0]

    more = one.step(work)
    reached("forget.after_rows")
    for blobs in doomed:
        _erase(one, blobs)
    return more


def _erase(one: Forgetting, blobs: Doomed) -> None:
    """Delete blobs, and note that they are; what cannot be deleted now is left to upkeep."""
    if blobs.keys and deleted(one.context.blobs, blobs.keys):
        with one.context.database.unit_of_work(one.owner.tenant_id) as session:
            files.erased(session, blobs.files)


def _clean_files(one: Forgetting) -> None:
    """Take the document's lines out of every file, those included that a batch wrote meanwhile."""
    after = 0
    while True:
        after, came = _clean_page(one, after)
        if not came:
            _must_not_be(one, list(forget.BUSY))
            after, came = _clean_page(one, after)
            if not came:
                return


def _clean_page(one: Forgetting, after: int) -> tuple[int, bool]:
    with one.context.database.unit_of_work(one.owner.tenant_id) as session:
        page = forget.files_of(session, one.owner.tenant_id, one.document, after=after)
    for file in page:
        _clean(one, file)
    return (page[-1].id, True) if page else (after, False)


def _clean(one: Forgetting, file: Row[Any]) -> None:
    """Write a file anew without what it says of the document, where it says anything."""
    most, digest = one.context.settings.max_row_bytes, one.document.hex().encode()
    blobs = one.context.blobs
    try:
        with blobs.reading(file.blob_key) as source:
            if not any(digest in piece for piece in iter(lambda: source.readline(most), b"")):
                return
        key = f"inputs/{ids.uuid7().hex}"
        with blobs.reading(file.blob_key) as source, blobs.writing(key) as target:
            lines = without(source, target, one.document.hex(), most)
            size = target.tell()
    except NotFound:  # it went with its own time
        return
    doomed = None
    if lines:
        with one.context.database.unit_of_work(one.owner.tenant_id) as session:
            doomed = forget.swap(session, one.owner, file, key, size)
        reached("forget.after_file")
    if doomed is None:
        blobs.delete(key)
        return
    one.taken = one.taken.plus(Taken(lines=lines, blobs=1))
    one.files.append(ids.public("file", file.public_id))
    _erase(one, doomed)


def without(source: BinaryIO, target: BinaryIO, digest: str, most_bytes: int) -> int:
    """Copy lines; of those about a document only their name goes over, and what they cost. Returns how many those were.

    A line that is longer than any row may be is copied in parts; it goes as a whole where its beginning names the document.
    """
    marked, taken = digest.encode(), 0
    while raw := source.readline(most_bytes):
        about = marked in raw
        is_whole = raw.endswith(b"\n") or len(raw) < most_bytes
        stub = _stub(raw, digest) if about and is_whole else (b"{}" if about else None)
        target.write(raw if stub is None else stub + b"\n")
        taken += stub is not None
        while not is_whole and (rest := source.readline(most_bytes)):
            if stub is None:
                target.write(rest)
            is_whole = rest.endswith(b"\n")
    return taken


def _stub(raw: bytes, digest: str) -> bytes | None:
    """What stays of a line that is about the document; None for one that only mentions its hash."""
    try:
        line = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return b"{}"
    if not isinstance(line, dict):
        return None
    body, ours = line.get("body"), line.get("rightsize")
    if isinstance(body, dict) and _is_about(body, digest):
        return orjson.dumps({"custom_id": line.get("custom_id"), CODE: True})
    if isinstance(ours, dict) and _is_about(ours, digest):
        kept = {name: ours[name] for name in KEPT if name in ours}
        error = {"code": CODE, "message": TOLD}
        return orjson.dumps(
            {
                "id": line.get("id"),
                "custom_id": line.get("custom_id"),
                "response": None,
                "error": error,
                "rightsize": kept,
            }
        )
    return None


def _is_about(part: dict[str, Any], digest: str) -> bool:
    document = part.get("document")
    return isinstance(document, dict) and document.get("hash") == digest
