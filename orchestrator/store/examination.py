"""What the doctor asks beside the invariants: which blobs rows know, and what people should know of keys, budgets and batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.store import files
from orchestrator.store.budgets import SPENT, START

MOST_COUNTED: Final = 10_000
SHOWN: Final = 5
# `bodies/01234567/ID` and `results/01234567/ID-DISPATCH`: the job's public id finds its row by an index, which its key has not.
_OF_UPLOAD: Final = re.compile(r"inputs/[0-9a-f]{32}")
_OF_JOB: Final = re.compile(r"(?:bodies|results)/[^/]+/([0-9a-f]{32})(?:-\d+)?")

OF_JOBS: Final = text("""
    SELECT r.blob_key FROM jobs j JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
        WHERE j.public_id = ANY(CAST(:jobs AS uuid[])) AND r.blob_key = ANY(CAST(:keys AS text[]))
    UNION ALL SELECT r.blob_key FROM jobs j JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
        WHERE j.public_id = ANY(CAST(:jobs AS uuid[])) AND r.blob_key = ANY(CAST(:keys AS text[]))
""")
_SERVED: Final = "f.deleted_at IS NULL AND (f.expires_at IS NULL OR f.expires_at > now()) AND f.blob_key <> ''"
# What is still to be read comes first, then the latest.
FILES: Final = text(f"""
    (SELECT f.public_id, f.blob_key FROM batches b JOIN files f ON f.id = b.input_file_id
        WHERE b.status = 'validating' AND {_SERVED} ORDER BY b.id LIMIT :limit)
    UNION (SELECT f.public_id, f.blob_key FROM files f WHERE {_SERVED} ORDER BY f.id DESC LIMIT :limit)
""")
SERVED: Final = text(
    f"SELECT f.public_id, f.blob_key FROM files f WHERE f.blob_key = ANY(CAST(:keys AS text[])) AND {_SERVED}"
)

# Ids, and names of tenants and projects only: those of keys and webhooks are any text that their owners like.
_BATCH: Final = "'batch_' || replace(b.public_id::text, '-', '')"
_KEY: Final = "'key_' || replace(k.public_id::text, '-', '')"
_HOOK: Final = "'we_' || replace(e.public_id::text, '-', '')"


@dataclass(frozen=True, slots=True)
class Notice:
    """One statement that finds what people should know: a text for each thing."""

    name: str
    says: str
    remedy: str
    sql: str
    fault: bool = False
    """Whether something is wrong with the installation, and not only with what somebody set or handed in."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """What a notice found."""

    notice: Notice
    count: int
    """Up to MOST_COUNTED."""
    examples: Sequence[str]


NOTICES: Final = (
    Notice(
        "unread", "batches wait for longer than ten minutes to be read",
        "Is an orchestrator running, and does it reach the blobs? Its log says.",
        f"SELECT {_BATCH} FROM batches b WHERE b.status = 'validating' AND b.created_at < now() - interval '10 minutes'",
        fault=True,
    ),
    Notice(
        "paused", "batches are paused: nothing of them is begun until somebody resumes them",
        "Resume one: `rightsize resume ID`.",
        f"SELECT {_BATCH} FROM batches b WHERE b.paused_at IS NOT NULL AND b.status IN ('validating', 'in_progress')",
    ),
    Notice(
        "held back", "batches are held back",
        "Raise the budget (`rightsize budgets set`), or the batch's own cap: `rightsize resume ID --max-cost-usd X`.",
        f"SELECT {_BATCH} || ' (' || b.held_back || ')' FROM batches b WHERE b.held_back IS NOT NULL AND b.status = 'in_progress'",
    ),
    Notice(
        "budgets", "budgets are used up, or have refused work in their period",
        "Raise one: `rightsize budgets set NAME --limit-usd X --scope SCOPE --period PERIOD --tenant TENANT`.",
        f"SELECT concat_ws(' ', t.name, b.scope, coalesce(p.name, {_KEY}), b.period, '$' || trim_scale(b.limit_usd)) "
        "FROM budgets b JOIN tenants t ON t.id = b.tenant_id LEFT JOIN projects p ON b.scope = 'project' AND p.id = b.scope_id "
        "LEFT JOIN api_keys k ON b.scope = 'key' AND k.id = b.scope_id WHERE b.limit_usd IS NOT NULL AND b.scope <> 'batch' "
        f"AND ({SPENT} + b.held_usd >= b.limit_usd OR b.refused_at >= {START})",
    ),
    Notice(
        "disabled house", "tenants or projects of whoever runs this service are disabled, and their keys refused",
        "With `default` or all of its projects disabled nobody can administer it. Enable them, with a new key, on the service's own "
        "machine: `rightsize keys create --name rescue --scope admin --scope read --scope submit --enable`.",
        "SELECT concat_ws(' ', 'tenant', t.name) FROM tenants t WHERE t.name = 'default' AND t.disabled_at IS NOT NULL "
        "UNION ALL SELECT concat_ws(' ', 'project', p.name) FROM projects p JOIN tenants t ON t.id = p.tenant_id "
        "WHERE t.name = 'default' AND p.disabled_at IS NOT NULL AND NOT EXISTS (SELECT FROM projects o WHERE o.tenant_id = t.id "
        "AND o.disabled_at IS NULL)",
        fault=True,
    ),
    Notice(
        "expiring keys", "API keys expire within a week",
        "Give their users others: `rightsize keys rotate ID --grace 24h --tenant TENANT`.",
        f"SELECT concat_ws(' ', t.name, {_KEY}, to_char(k.expires_at, 'YYYY-MM-DD')) "
        "FROM api_keys k JOIN tenants t ON t.id = k.tenant_id JOIN projects p ON p.id = k.project_id "
        "WHERE k.revoked_at IS NULL AND k.expires_at > now() AND k.expires_at < now() + interval '7 days' "
        "AND t.disabled_at IS NULL AND p.disabled_at IS NULL ORDER BY k.expires_at",
    ),
    Notice(
        "dead webhooks", "webhook endpoints did not take events of the last week, which are sent no more",
        "Mend the receiver, then send them again: `rightsize webhooks deliveries --dead`, `rightsize webhooks replay ID`.",
        f"SELECT concat_ws(' ', t.name, {_HOOK}, dead.count || ' events:', dead.code) FROM ("
        "SELECT d.endpoint_id, count(*), max(d.last_code) AS code FROM webhook_deliveries d "
        "WHERE d.dead_at > now() - interval '7 days' GROUP BY d.endpoint_id) dead "
        "JOIN webhook_endpoints e ON e.id = dead.endpoint_id JOIN tenants t ON t.id = e.tenant_id ORDER BY dead.count DESC",
    ),
)  # fmt: skip


def notice(session: Session) -> list[Noticed]:
    """What people should know, with how many there are of it and some of them."""
    found = []
    for one in NOTICES:
        rows = session.execute(text(f"SELECT * FROM ({one.sql}) found LIMIT {MOST_COUNTED}")).scalars().all()
        if rows:
            found.append(Noticed(one, len(rows), [str(row) for row in rows[:SHOWN]]))
    return found


def known_keys(session: Session, keys: Sequence[str]) -> set[str]:
    """Those of some blob keys that a row has: a file, a job's request or a result."""
    known = files.known_keys(session, keys)
    return known | known_of_jobs(session, [key for key in keys if key not in known])


def known_of_jobs(session: Session, keys: Sequence[str]) -> set[str]:
    """Those of some blob keys that a job's request or result has."""
    of_jobs = {key: found[1] for key in keys if (found := _OF_JOB.fullmatch(key))}
    if not of_jobs:
        return set()
    values = {"jobs": sorted(set(of_jobs.values())), "keys": list(of_jobs)}
    return set(session.execute(OF_JOBS, values).scalars())


def orphans(session: Session, keys: Sequence[str]) -> list[str]:
    """Those of some blob keys that are a job's or an upload's by their form, and that no row has."""
    known = known_keys(session, keys)
    return [key for key in keys if key not in known and (_OF_JOB.fullmatch(key) or _OF_UPLOAD.fullmatch(key))]


def served_files(session: Session, limit: int) -> Sequence[Row[Any]]:
    """Files that callers can read (`public_id`, `blob_key`): those that batches wait to be read from, and the latest `limit`."""
    return session.execute(FILES, {"limit": limit}).all()


def still_served(session: Session, keys: Sequence[str]) -> Sequence[Row[Any]]:
    """Those files of some blob keys that callers can read now."""
    return session.execute(SERVED, {"keys": list(keys)}).all()
