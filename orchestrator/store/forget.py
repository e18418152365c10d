"""What is stored of a document, emptied: requests, results, what people said of them, and which files may hold it.

Rows stay, with what they cost. Every statement is about one tenant, and the API's role can put nothing but emptiness there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.store.jobs import Swept

CODE: Final = "forgotten"
TOLD: Final = "The document was forgotten."
"""The database lets the API's role write this, and nothing else, where a fault may have quoted the document."""
CHUNK: Final = 200
FILES: Final = 100
BUSY: Final = ("validating", "finalizing", "cancelling")

_OF_DOCUMENT: Final = "tenant_id = :tenant AND document_hash = :hash"
CANCEL: Final = text(f"""
    WITH picked AS (
        SELECT id, held_usd FROM jobs WHERE {_OF_DOCUMENT} AND state < 10 ORDER BY id LIMIT {CHUNK} FOR UPDATE
    )
    UPDATE jobs SET state = 12, ended_at = now(), held_usd = 0, retry_at = NULL, fault_code = '{CODE}', fault_message = '{TOLD}'
    FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.public_id, jobs.batch_id, jobs.tenant_id, jobs.project_id, jobs.api_key_id, jobs.tier, jobs.model,
        jobs.interactive, jobs.parent_job_id, picked.held_usd
""")
PICK: Final = text(f"""
    SELECT id, stored_on, public_id, dispatch_id FROM jobs WHERE {_OF_DOCUMENT} AND state >= 10 AND forgotten_at IS NULL
    ORDER BY id LIMIT {CHUNK} FOR UPDATE
""")
_THESE: Final = "x.job_id = {t}.job_id AND x.stored_on = {t}.stored_on"
_ROWS: Final = "unnest(CAST(:jobs AS bigint[]), CAST(:days AS date[])) AS x(job_id, stored_on)"
KEYS: Final = text(f"""
    SELECT r.blob_key FROM {_ROWS} JOIN job_requests r ON {_THESE.format(t="r")} WHERE r.blob_key IS NOT NULL
    UNION SELECT r.blob_key FROM {_ROWS} JOIN results r ON {_THESE.format(t="r")} WHERE r.blob_key IS NOT NULL
""")
REQUESTS: Final = text(f"""
    UPDATE job_requests r SET body = NULL, blob_key = NULL, features = CAST(r.features::jsonb - 'document' AS text)
    FROM {_ROWS} WHERE {_THESE.format(t="r")}
""")
RESULTS: Final = text(f"UPDATE results r SET body = NULL, blob_key = NULL FROM {_ROWS} WHERE {_THESE.format(t='r')}")
VERSIONS: Final = text("DELETE FROM result_versions WHERE job_id = ANY(CAST(:jobs AS bigint[]))")
REVIEWS: Final = text("DELETE FROM reviews WHERE job_id = ANY(CAST(:jobs AS bigint[]))")
LABELS: Final = text("DELETE FROM labels WHERE job_id = ANY(CAST(:jobs AS bigint[]))")
AUDITS: Final = text(
    "DELETE FROM audits a USING jobs j WHERE j.id = ANY(CAST(:jobs AS bigint[])) AND a.job = j.public_id"
)
ATTEMPTS: Final = text(f"""
    UPDATE attempts SET detail = NULL, fault_message = CASE WHEN fault_message IS NOT NULL THEN '{TOLD}' END
    WHERE job_id = ANY(CAST(:jobs AS bigint[]))
""")
MARK: Final = text(f"""
    UPDATE jobs SET forgotten_at = now(), reuse_key = NULL, fault_code = coalesce(fault_code, '{CODE}'), fault_message = '{TOLD}'
    WHERE id = ANY(CAST(:jobs AS bigint[]))
""")
# A blob that nobody may read is a file that is gone: upkeep deletes its bytes, whoever dies in between.
TO_ERASE: Final = text("""
    INSERT INTO files (public_id, tenant_id, project_id, api_key_id, purpose, filename, bytes, blob_key, deleted_at)
    SELECT x.public_id, :tenant, :project, :key, 'forgotten', '', 0, x.blob_key, now()
    FROM unnest(CAST(:public_ids AS uuid[]), CAST(:keys AS text[])) AS x(public_id, blob_key) RETURNING id
""")
# Those that its jobs are of, and those that run failed rows of them again: their outputs hold those of the first.
_BATCHES: Final = f"""
    WITH RECURSIVE of_document AS (
        SELECT id FROM batches WHERE tenant_id = :tenant AND id IN (SELECT batch_id FROM jobs WHERE {_OF_DOCUMENT})
        UNION SELECT b.id FROM of_document o JOIN batches b ON b.retry_of = o.id AND b.tenant_id = :tenant
    )
"""
READ_NOW: Final = text(
    f"{_BATCHES} SELECT b.public_id, b.status FROM batches b JOIN of_document o ON o.id = b.id WHERE b.status = ANY(:states) LIMIT 1"
)
# Also the inputs of batches of documents of which rows failed, and of no batch: what was refused there made no job that says what it was about.
FILES_OF: Final = text(f"""
    {_BATCHES}, named AS (
        SELECT b.input_file_id, b.output_file_id, b.error_file_id, b.merged_file_id FROM batches b JOIN of_document o ON o.id = b.id
        UNION ALL SELECT b.input_file_id, NULL, b.error_file_id, NULL FROM batches b
            WHERE b.tenant_id = :tenant AND b.hints ->> 'task_version' IS NOT NULL AND coalesce(CAST(b.final ->> 'failed' AS integer), 1) > 0
    )
    SELECT f.id, f.public_id, f.blob_key, f.purpose FROM files f
    WHERE f.tenant_id = :tenant AND f.deleted_at IS NULL AND f.blob_key <> '' AND f.id > :after AND (
        f.id IN (SELECT unnest(ARRAY[input_file_id, output_file_id, error_file_id, merged_file_id]) FROM named)
        OR f.purpose = 'batch' AND f.id NOT IN (SELECT input_file_id FROM batches WHERE tenant_id = :tenant)
    ) ORDER BY f.id LIMIT {FILES}
""")
SWAP: Final = text("""
    UPDATE files SET blob_key = :new, bytes = :size WHERE id = :id AND tenant_id = :tenant AND blob_key = :old AND deleted_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class Taken:
    """How many rows, blobs and lines were taken."""

    jobs: int = 0
    cancelled: int = 0
    requests: int = 0
    results: int = 0
    versions: int = 0
    reviews: int = 0
    attempts: int = 0
    blobs: int = 0
    lines: int = 0

    def plus(self, other: Taken) -> Taken:
        """The sum of both."""
        return Taken(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    def told(self) -> dict[str, int]:
        """By name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Doomed:
    """Blobs that no row names any more, as files that are gone."""

    files: Sequence[int]
    keys: Sequence[str]


def cancel(session: Session, tenant_id: int, document: bytes) -> list[Swept]:
    """End a chunk of a document's jobs that have not ended."""
    return [_swept(row) for row in session.execute(CANCEL, {"tenant": tenant_id, "hash": document})]


def _swept(row: Row[Any]) -> Swept:
    owner = Owner(row.tenant_id, row.project_id, row.api_key_id)
    return Swept(
        row.id, row.public_id, row.batch_id, owner, row.tier, row.model, row.interactive, row.held_usd, row.parent_job_id is not None
    )  # fmt: skip


def empty(session: Session, owner: Owner, document: bytes) -> tuple[Taken, Doomed] | None:
    """Empty a chunk of a document's jobs and all that hangs on them; None where there are no more. Attempts are those that told something."""
    jobs = session.execute(PICK, {"tenant": owner.tenant_id, "hash": document}).all()
    if not jobs:
        return None
    values = {"jobs": [job.id for job in jobs], "days": [job.stored_on for job in jobs]}
    keys = set(session.execute(KEYS, values).scalars()) | {_late(job) for job in jobs if job.dispatch_id is not None}
    done = {
        one: _count(session, one, values)
        for one in (REQUESTS, RESULTS, VERSIONS, REVIEWS, LABELS, AUDITS, ATTEMPTS, MARK)
    }
    taken = Taken(
        jobs=len(jobs), requests=done[REQUESTS], results=done[RESULTS], versions=done[VERSIONS], reviews=done[REVIEWS],
        attempts=done[ATTEMPTS], blobs=len(keys),
    )  # fmt: skip
    return taken, to_erase(session, owner, sorted(keys))


def _late(job: Row[Any]) -> str:
    """Where a worker puts the result of a job that it lost meanwhile: no row names it."""
    return f"results/{job.public_id.hex[:8]}/{job.public_id.hex}-{job.dispatch_id}"


def _count(session: Session, statement: Any, values: dict[str, Any]) -> int:
    return int(session.execute(statement, values).rowcount)  # type: ignore[attr-defined]


def to_erase(session: Session, owner: Owner, keys: Sequence[str]) -> Doomed:
    """Hand blobs that no row names any more to those who delete the bytes of files that are gone."""
    if not keys:
        return Doomed((), ())
    values = {
        "tenant": owner.tenant_id, "project": owner.project_id, "key": owner.api_key_id, "public_ids": ids.uuid7s(len(keys)),
        "keys": list(keys),
    }  # fmt: skip
    return Doomed(list(session.execute(TO_ERASE, values).scalars()), list(keys))


def busy(session: Session, tenant_id: int, document: bytes, states: Sequence[str] = BUSY) -> tuple[UUID, str] | None:
    """A batch with the document that is being read or written just now, and its status."""
    row = session.execute(READ_NOW, {"tenant": tenant_id, "hash": document, "states": list(states)}).one_or_none()
    return (row.public_id, row.status) if row else None


def files_of(session: Session, tenant_id: int, document: bytes, *, after: int) -> Sequence[Row[Any]]:
    """A page of the files that may hold a document (`id`, `public_id`, `blob_key`, `purpose`)."""
    return session.execute(FILES_OF, {"tenant": tenant_id, "hash": document, "after": after}).all()


def swap(session: Session, owner: Owner, file: Row[Any], new_key: str, size: int) -> Doomed | None:
    """Give a file other bytes; None where it is gone or has others already."""
    values = {"id": file.id, "tenant": owner.tenant_id, "old": file.blob_key, "new": new_key, "size": size}
    if not _count(session, SWAP, values):
        return None
    return to_erase(session, owner, [file.blob_key])
