"""Immutable versions of fleet, policy and prices, and the tasks that have a specialist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

ADD: Final = text("""
    INSERT INTO config_versions (kind, digest, content) VALUES (:kind, :digest, CAST(:content AS jsonb))
    ON CONFLICT (kind, digest) DO NOTHING
""")
FIND: Final = text("SELECT id FROM config_versions WHERE kind = :kind AND digest = :digest")
SPECIALISTS: Final = text("SELECT DISTINCT name FROM tasks WHERE tenant_id = :tenant AND specialist IS NOT NULL")
PUT_TASK: Final = text("""
    INSERT INTO tasks (tenant_id, name, version, specialist, training)
    SELECT t.id, :name, coalesce((SELECT max(version) FROM tasks WHERE tenant_id = t.id AND name = :name), 0) + 1,
        :specialist, CAST(:training AS jsonb)
    FROM tenants t WHERE t.name = 'default' RETURNING version
""")
USED: Final = text("""
    SELECT host, pid, model, fleet_version FROM workers WHERE last_seen > now() - make_interval(secs => :seen)
""")


@dataclass(frozen=True, slots=True)
class Versions:
    """The ids of the versions that a process runs on."""

    fleet: int
    policy: int
    prices: int


def register(session: Session, parts: Mapping[str, tuple[str, str]]) -> Versions:
    """Import fleet, policy and prices as versions where they are new, and return their ids."""
    ids = {}
    for kind, (digest, content) in sorted(parts.items()):
        session.execute(ADD, {"kind": kind, "digest": digest, "content": content})
        ids[kind] = session.execute(FIND, {"kind": kind, "digest": digest}).scalar_one()
    return Versions(**ids)


def specialists(session: Session, tenant_id: int) -> frozenset[str]:
    """The tenant's tasks that have a trained specialist."""
    return frozenset(session.execute(SPECIALISTS, {"tenant": tenant_id}).scalars())


def put_task(session: Session, name: str, specialist: str, training: Mapping[str, Any]) -> int:
    """Store a new version of a task with its trained specialist; returns the version."""
    row = session.execute(PUT_TASK, {"name": name, "specialist": specialist, "training": json.dumps(training)})
    return int(row.scalar_one())


def fleet_versions_in_use(session: Session, seen_s: float) -> list[tuple[str, int, str, int]]:
    """Host, pid, model and fleet version of every live worker."""
    return [tuple(row) for row in session.execute(USED, {"seen": seen_s})]
