"""Jobs for us alone, as audits are: each about a job of a tenant, whose project it queues with, and nobody is charged for it.

It is about the same document, so that it is forgotten with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.store.versions import Versions

# Whoever forgets the document meanwhile waits for this, and finds the new job as well.
PUT: Final = text("""
    WITH new AS MATERIALIZED (
        SELECT nextval('jobs_id_seq') AS id, (now() AT TIME ZONE 'UTC')::date AS stored_on
    ), job AS (
        INSERT INTO jobs (id, stored_on, public_id, tenant_id, project_id, api_key_id, lane, prefix_hash, deadline, fleet_version,
            policy_version, price_version, state, interactive, held_usd, tier, model, endpoint, rule, task, task_version, document_hash, unbilled)
        SELECT new.id, new.stored_on, :public_id, j.tenant_id, j.project_id, j.api_key_id, -j.project_id, j.prefix_hash,
            now() + make_interval(secs => :within), :fleet, :policy, :prices, 1, false, 0, :tier, :model, j.endpoint, :rule, j.task,
            j.task_version, j.document_hash, true
        FROM jobs j, new WHERE j.id = :about AND j.forgotten_at IS NULL FOR SHARE OF j RETURNING id
    ), request AS (
        INSERT INTO job_requests (stored_on, job_id, body, reasons, features)
        SELECT new.stored_on, job.id, :body, :reasons, r.features FROM job, new, jobs j
        JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on WHERE j.id = :about
    )
    SELECT id FROM job
""")


@dataclass(frozen=True, slots=True)
class HouseJob:
    """A request of ours, about a job of a tenant."""

    about: int
    public_id: UUID
    body: bytes
    tier: str
    model: str
    rule: str
    reasons: str
    within_s: float


def put(session: Session, new: HouseJob, versions: Versions) -> int | None:
    """Queue it; returns its id, or None where the job that it is about was forgotten meanwhile."""
    values = {
        "about": new.about, "public_id": new.public_id, "body": new.body, "tier": new.tier, "model": new.model, "rule": new.rule,
        "reasons": new.reasons, "within": new.within_s, "fleet": versions.fleet, "policy": versions.policy, "prices": versions.prices,
    }  # fmt: skip
    found: int | None = session.execute(PUT, values).scalar_one_or_none()
    return found
