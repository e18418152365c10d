"""What a submission of one needs: the job in one round trip, and idempotency keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import JobState, Owner
from orchestrator.store.jobs import NewJob
from orchestrator.store.rightsizing import audits
from orchestrator.store.versions import Versions

ADD: Final = text("""
    WITH new AS MATERIALIZED (
        SELECT nextval('jobs_id_seq') AS id, (now() AT TIME ZONE 'UTC')::date AS stored_on
    ), sent AS (
        INSERT INTO dispatches (tier, model, interactive, job_ids, size, claim_by)
        SELECT :tier, :model, true, ARRAY[id], 1, now() + make_interval(secs => :claim_by) FROM new WHERE :interactive
        RETURNING id
    ), job AS (
        INSERT INTO jobs (id, stored_on, dispatch_id, public_id, tenant_id, project_id, api_key_id, lane, prefix_hash, deadline,
            fleet_version, policy_version, price_version, state, interactive, held_usd, worst_usd, tier, model, endpoint, rule, task,
            cascade)
        SELECT id, stored_on, (SELECT id FROM sent), :public_id, :tenant, :project, :api_key, -CAST(:project AS bigint),
            :prefix_hash, now() + make_interval(secs => :within), :fleet, :policy, :prices, :state, :interactive, :held_usd,
            :held_usd, :tier, :model, :endpoint, :rule, :task, :cascade
        FROM new
    ), request AS (
        INSERT INTO job_requests (stored_on, job_id, body, blob_key, reasons, features)
        SELECT stored_on, id, :body, :blob_key, :reasons, :features FROM new
    )
    SELECT (SELECT id FROM sent)
""")
ADD_NOW: Final = text("""
    WITH new AS MATERIALIZED (
        SELECT nextval('jobs_id_seq') AS id, nextval('dispatches_id_seq') AS sent, (now() AT TIME ZONE 'UTC')::date AS stored_on, x.*
        FROM unnest(CAST(:public_ids AS uuid[]), CAST(:tiers AS text[]), CAST(:models AS text[]), CAST(:endpoints AS text[]),
            CAST(:rules AS text[]), CAST(:tasks AS text[]), CAST(:prefixes AS bigint[]), CAST(:held AS numeric[]),
            CAST(:bodies AS bytea[]), CAST(:blob_keys AS text[]), CAST(:reasons AS text[]), CAST(:features AS jsonb[]),
            CAST(:within AS float8[]), CAST(:cascades AS text[]))
            WITH ORDINALITY AS x(public_id, tier, model, endpoint, rule, task, prefix_hash, held_usd, body, blob_key, reasons,
                features, within_s, cascade, place)
    ), sent AS (
        INSERT INTO dispatches (id, tier, model, interactive, job_ids, size, claim_by)
        SELECT sent, tier, model, true, ARRAY[id], 1, now() + make_interval(secs => :claim_by) FROM new
    ), job AS (
        INSERT INTO jobs (id, stored_on, dispatch_id, public_id, tenant_id, project_id, api_key_id, lane, prefix_hash, deadline,
            fleet_version, policy_version, price_version, state, interactive, held_usd, worst_usd, tier, model, endpoint, rule, task,
            cascade)
        SELECT id, stored_on, sent, public_id, :tenant, :project, :api_key, -CAST(:project AS bigint), prefix_hash,
            now() + make_interval(secs => within_s), :fleet, :policy, :prices, :state, true, held_usd, held_usd, tier, model,
            endpoint, rule, task, cascade
        FROM new
    ), request AS (
        INSERT INTO job_requests (stored_on, job_id, body, blob_key, reasons, features)
        SELECT stored_on, id, body, blob_key, reasons, features FROM new
    )
    SELECT sent FROM new ORDER BY place
""")
REMEMBER_ALL: Final = text("""
    INSERT INTO idempotency_keys (tenant_id, key, request_hash, target_id)
    SELECT :tenant, x.* FROM unnest(CAST(:keys AS text[]), CAST(:hashes AS bytea[]), CAST(:targets AS uuid[])) x(key, hash, target)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING target_id
""")
REMEMBER: Final = text("""
    INSERT INTO idempotency_keys (tenant_id, key, request_hash, target_id) VALUES (:tenant, :key, :hash, :target)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING target_id
""")
RECALL: Final = text("SELECT request_hash, target_id FROM idempotency_keys WHERE tenant_id = :tenant AND key = :key")
FORGET: Final = text("""
    DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(days => :days) LIMIT 5000
    ))
""")


def add(
    session: Session, owner: Owner, job: NewJob, versions: Versions, *, within_s: float, claim_by_s: float
) -> int | None:
    """Put in a job outside any batch, due by the database's clock; one born ASSIGNED gets its dispatch, whose id is returned."""
    interactive = job.state is JobState.ASSIGNED
    values = {
        "public_id": job.public_id, "tenant": owner.tenant_id, "project": owner.project_id, "api_key": owner.api_key_id,
        "prefix_hash": job.prefix_hash, "within": within_s, "claim_by": claim_by_s, "fleet": versions.fleet,
        "policy": versions.policy, "prices": versions.prices, "state": int(job.state), "interactive": interactive,
        "held_usd": job.held_usd, "tier": job.tier, "model": job.model, "endpoint": job.endpoint, "rule": job.rule,
        "task": job.task, "body": job.body, "blob_key": job.blob_key, "reasons": job.reasons, "features": job.features,
        "cascade": " ".join(job.cascade) or None,
    }  # fmt: skip
    dispatch_id: int | None = session.execute(ADD, values).scalar_one()
    audits.draw(session, owner.tenant_id, [(job.public_id, job.drawn)] if job.drawn else [])
    return dispatch_id


def add_now(
    session: Session, owner: Owner, jobs: Sequence[NewJob], versions: Versions, *, within_s: Sequence[float], claim_by_s: float
) -> list[int]:  # fmt: skip
    """Put in an owner's interactive jobs, each with its dispatch, in one round trip; the dispatches in the order of the jobs."""
    values = {
        "public_ids": [job.public_id for job in jobs], "tiers": [str(job.tier) for job in jobs],
        "models": [job.model for job in jobs], "endpoints": [job.endpoint for job in jobs], "rules": [job.rule for job in jobs],
        "tasks": [job.task for job in jobs], "prefixes": [job.prefix_hash for job in jobs], "held": [job.held_usd for job in jobs],
        "bodies": [job.body for job in jobs], "blob_keys": [job.blob_key for job in jobs],
        "reasons": [job.reasons for job in jobs], "features": [job.features for job in jobs], "within": list(within_s),
        "cascades": [" ".join(job.cascade) or None for job in jobs],
        "tenant": owner.tenant_id, "project": owner.project_id, "api_key": owner.api_key_id, "claim_by": claim_by_s,
        "state": int(JobState.ASSIGNED), "fleet": versions.fleet, "policy": versions.policy, "prices": versions.prices,
    }  # fmt: skip
    made = list(session.execute(ADD_NOW, values).scalars())
    audits.draw(session, owner.tenant_id, [(job.public_id, job.drawn) for job in jobs if job.drawn])
    return made


def remember_keys(session: Session, tenant_id: int, keys: Iterable[tuple[str, bytes, UUID]]) -> set[UUID]:
    """Bind keys to what is about to be made, each with its request's hash; the targets of those that were not bound already.

    They are bound in the order of the keys, so that no two transactions wait for each other.
    """
    ordered = sorted(keys)
    values = {
        "tenant": tenant_id, "keys": [key for key, _, _ in ordered], "hashes": [digest for _, digest, _ in ordered],
        "targets": [target for _, _, target in ordered],
    }  # fmt: skip
    return set(session.execute(REMEMBER_ALL, values).scalars())


def remember_key(session: Session, tenant_id: int, key: str, request_hash: bytes, target: UUID) -> bool:
    """Bind an idempotency key to what is about to be made; False if it is bound already. Waits for a twin in flight."""
    values = {"tenant": tenant_id, "key": key, "hash": request_hash, "target": target}
    return session.execute(REMEMBER, values).one_or_none() is not None


def recall_key(session: Session, tenant_id: int, key: str) -> tuple[bytes, UUID] | None:
    """The request hash and the target of an idempotency key."""
    row = session.execute(RECALL, {"tenant": tenant_id, "key": key}).one_or_none()
    return (bytes(row[0]), row[1]) if row else None


def forget_keys(session: Session, days: int) -> int:
    """Delete a chunk of the idempotency keys that are older than the retention; returns how many."""
    return int(session.execute(FORGET, {"days": days}).rowcount)  # type: ignore[attr-defined]
