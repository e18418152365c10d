"""Lanes: where queued jobs stand in line together, whose they are, and what bounds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner


@dataclass(frozen=True, slots=True)
class Lane:
    """A batch (its id), or the singles of a project (minus its id)."""

    id: int
    owner: Owner
    tenant_weight: int = 1
    project_weight: int = 1
    due_s: float | None = None
    """Seconds until the deadline; None where each job has its own and none is near."""
    limited: bool = False
    """Whether a budget bounds what it may hold."""
    grows: bool = False
    """Whether jobs go on coming in."""


FIRST: Final = -(2**63)
"""Before every lane."""
MOST_SINGLES: Final = 1_000
"""Lanes of singles that one pass looks at: each is a hop through the index, some hundredths of a millisecond."""

_LIMITED: Final = """EXISTS (
    SELECT FROM (VALUES ('tenant', b.tenant_id), ('project', b.project_id), ('key', b.api_key_id), ('batch', b.id)) s(scope, scope_id)
    JOIN budgets u ON u.scope = s.scope AND u.scope_id = s.scope_id WHERE u.limit_usd IS NOT NULL
)"""
BATCHES: Final = text(f"""
    SELECT b.id, b.tenant_id, b.project_id, b.api_key_id, t.weight AS tenant_weight, p.weight AS project_weight,
        extract(epoch FROM b.deadline - now())::float8 AS due_s, {_LIMITED} AS limited
    FROM batches b JOIN tenants t ON t.id = b.tenant_id JOIN projects p ON p.id = b.project_id
    WHERE b.status = 'in_progress' AND b.paused_at IS NULL
""")
# A loose scan of the index: it hops from lane to lane.
SINGLES: Final = text("""
    WITH RECURSIVE lanes AS (
        (SELECT min(lane) AS lane FROM jobs WHERE model = :model AND state = 1 AND NOT requeued AND lane > :after AND lane < 0)
        UNION ALL
        SELECT (SELECT min(lane) FROM jobs WHERE model = :model AND state = 1 AND NOT requeued AND lane > lanes.lane AND lane < 0)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT l.lane, p.tenant_id, p.id AS project_id, t.weight AS tenant_weight, p.weight AS project_weight
    FROM (SELECT lane FROM lanes WHERE lane IS NOT NULL LIMIT :most) l
    JOIN projects p ON p.id = -l.lane JOIN tenants t ON t.id = p.tenant_id ORDER BY l.lane
""")
DUE_SINGLES: Final = text("""
    SELECT lane, min(extract(epoch FROM deadline - now()))::float8 FROM (
        SELECT lane, model, state, deadline FROM jobs
        WHERE batch_id = 0 AND state IN (1, 3) AND deadline < now() + interval '1 hour' ORDER BY deadline LIMIT 1000
    ) due WHERE model = :model AND state = 1 GROUP BY lane
""")
FILLED: Final = text("""
    SELECT lane FROM unnest(CAST(:lanes AS bigint[])) AS l(lane)
    WHERE EXISTS (SELECT FROM jobs j WHERE j.model = :model AND j.lane = l.lane AND j.state = 1 AND NOT j.requeued)
""")
HOLD_BACK: Final = text("""
    UPDATE batches SET held_back = CAST(:why AS text) WHERE id = ANY(CAST(:batches AS bigint[])) AND held_back IS DISTINCT FROM :why
        AND status = 'in_progress'
""")
BOUNDED: Final = text(
    "SELECT scope, scope_id, jobs_in_flight FROM quotas WHERE jobs_in_flight IS NOT NULL AND scope <> 'key'"
)
# What is assigned now: as much as the dispatches that have not ended hold, which the dispatcher itself keeps small.
IN_FLIGHT: Final = text("""
    SELECT j.tenant_id, j.project_id, count(*) FROM dispatches d CROSS JOIN unnest(d.job_ids) x(id)
    JOIN jobs j ON j.id = x.id AND j.dispatch_id = d.id AND j.state = 2 AND NOT j.unbilled
    WHERE d.ended_at IS NULL AND j.tenant_id = ANY(CAST(:tenants AS bigint[])) GROUP BY 1, 2
""")
CAME_BACK: Final = text("""
    SELECT DISTINCT j.tenant_id, j.project_id FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
    WHERE j.model = :model AND j.state = 1 AND j.requeued AND (b.id IS NULL OR b.status = 'in_progress' AND b.paused_at IS NULL)
""")


def batches(session: Session) -> list[Lane]:
    """Every open batch that is not paused."""
    return [
        Lane(
            row.id,
            Owner(row.tenant_id, row.project_id, row.api_key_id),
            row.tenant_weight,
            row.project_weight,
            row.due_s,
            row.limited,
        )
        for row in session.execute(BATCHES)
    ]


def filled(session: Session, model: str, lanes: Sequence[int]) -> set[int]:
    """Those of some lanes in which something is queued for a model: one look into an index for each."""
    return set(session.execute(FILLED, {"model": model, "lanes": list(lanes)}).scalars())


def singles(session: Session, model: str, *, after: int = FIRST, most: int = MOST_SINGLES) -> list[Lane]:
    """The singles of each project in which something is queued for a model; of more than `most` the next behind the lane `after`.

    Behind the last lane comes the first again.
    """
    found = list(session.execute(SINGLES, {"model": model, "after": after, "most": most}))
    if after != FIRST and len(found) < most:
        begun_anew = session.execute(SINGLES, {"model": model, "after": FIRST, "most": most - len(found)})
        found += [row for row in begun_anew if row.lane <= after]
    due = {row[0]: row[1] for row in session.execute(DUE_SINGLES, {"model": model})} if found else {}
    return [
        Lane(
            row.lane,
            Owner(row.tenant_id, row.project_id, 0),
            row.tenant_weight,
            row.project_weight,
            due.get(row.lane),
            grows=True,
        )
        for row in found
    ]


def hold_back(session: Session, batch_ids: Sequence[int], why: str | None) -> None:
    """Say why nothing of some batches can be assigned just now, or that it can again."""
    if batch_ids:
        session.execute(HOLD_BACK, {"batches": list(batch_ids), "why": why})


def in_flight_bounds(session: Session) -> Mapping[tuple[str, int], int]:
    """How many jobs each tenant or project with such a quota may have assigned at once."""
    return {(scope, scope_id): most for scope, scope_id, most in session.execute(BOUNDED)}


def in_flight(session: Session, tenant_ids: Sequence[int]) -> dict[tuple[str, int], int]:
    """How many jobs are assigned of some tenants, by tenant and project."""
    counts: dict[tuple[str, int], int] = {}
    for tenant, project, jobs in session.execute(IN_FLIGHT, {"tenants": list(tenant_ids)}):
        for one in (("tenant", tenant), ("project", project)):
            counts[one] = counts.get(one, 0) + jobs
    return counts


def came_back(session: Session, model: str) -> list[tuple[int, int]]:
    """The tenants and projects whose jobs came back and wait for a model."""
    return [(row.tenant_id, row.project_id) for row in session.execute(CAME_BACK, {"model": model})]
