"""What every step of the flow needs, made once by each process and handed down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from orchestrator.blobs import BlobStore, open_blobs
from orchestrator.broker import Broker
from orchestrator.eligibility import Situation
from orchestrator.errors import ServiceUnavailable
from orchestrator.fleet import Config, load
from orchestrator.flow.advised import Adviser
from orchestrator.lifecycle import Limits
from orchestrator.order import Lengths
from orchestrator.patience import retrying
from orchestrator.promotion import Promotion
from orchestrator.settings import Settings
from orchestrator.store import lengths, limits, versions
from orchestrator.store.limits import Quota
from orchestrator.store.migrate import check_schema
from orchestrator.store.rightsizing import stages
from orchestrator.store.session import Database, Role
from orchestrator.telemetry import log_fault

SPECIALISTS_FRESH_S = 2.0
LENGTHS_FRESH_S = 60.0
HOUSE_CONNECTIONS = 4
T = TypeVar("T")


@dataclass(slots=True)
class Backlog:
    """About how many jobs are queued, and when that was read, on the monotonic clock."""

    queued: int = 0
    read_at: float = float("-inf")


@dataclass(slots=True)
class Context:
    """The database, the broker, the blobs and the configuration of one process."""

    settings: Settings
    config: Config
    database: Database
    broker: Broker
    blobs: BlobStore
    versions: versions.Versions
    house: Database
    """The database without the bounds of a tenant, for what is nobody's own: keys to be looked up, figures of the whole. Where the
    process is no API, it is the same as `database`."""
    adviser: Adviser
    """The learned router, where one is in use."""
    backlog: Backlog = field(default_factory=Backlog)
    _specialists: dict[int, tuple[float, Set[str]]] = field(default_factory=dict)
    _promotions: dict[int, tuple[float, Mapping[str, Promotion]]] = field(default_factory=dict)
    _lengths: dict[int, tuple[float, Lengths]] = field(default_factory=dict)
    _quotas: dict[int, tuple[float, dict[tuple[str, int], Quota]]] = field(default_factory=dict)

    @property
    def limits(self) -> Limits:
        """What bounds retries."""
        policy = self.config.policy
        return Limits(policy.max_attempts, policy.retry_base_s, policy.retry_max_s)

    def situation(self, tenant_id: int) -> Situation:
        """What is known besides a request; the tenant's specialists are read again after two seconds, its lengths after a minute."""
        names = self._fresh(self._specialists, tenant_id, SPECIALISTS_FRESH_S, versions.specialists)
        promoted = self._fresh(self._promotions, tenant_id, SPECIALISTS_FRESH_S, stages.in_force)
        learnt = self._fresh(self._lengths, tenant_id, LENGTHS_FRESH_S, lengths.learnt)
        return Situation(self.config.fleet, self.config.policy, names, datetime.now(UTC).date(), learnt, promoted)

    def may_have_quotas(self, tenant_id: int) -> bool:
        """Whether a tenant has quotas, or it is to be looked up; does not wait for the database."""
        read_at, found = self._quotas.get(tenant_id, (float("-inf"), None))
        return found is None or bool(found) or time.monotonic() - read_at > SPECIALISTS_FRESH_S

    def quotas(self, tenant_id: int, session: Session | None = None) -> dict[tuple[str, int], Quota]:
        """A tenant's quotas by scope and id, read again after two seconds; in `session` by whoever is within a transaction.

        A second connection would be waited for while the first is held: under load all wait for one another.
        """
        return self._fresh(self._quotas, tenant_id, SPECIALISTS_FRESH_S, limits.quotas, session)

    def _fresh(
        self,
        known: dict[int, tuple[float, T]],
        tenant_id: int,
        fresh_s: float,
        read: Callable[[Session, int], T],
        within: Session | None = None,
    ) -> T:
        """What is known of a tenant, read again once it is older than `fresh_s`."""
        now = time.monotonic()
        if tenant_id not in known or now - known[tenant_id][0] > fresh_s:
            with self.database.unit_of_work(tenant_id) if within is None else nullcontext(within) as session:
                known[tenant_id] = (now, read(session, tenant_id))
        return known[tenant_id][1]

    def apart(self) -> Context:
        """The same with one database connection of its own: for what must not wait while all others are in use."""
        alone = Database(self.settings, self.database.role, connections=1)
        return replace(self, database=alone, house=alone)

    def close(self) -> None:
        """Close every connection."""
        self.broker.close()
        self.database.close()
        self.house.close()


@contextmanager
def one_batch(context: Context, step: str, batch_id: int) -> Iterator[bool]:
    """Whether a step of one batch is ours to take, by an advisory lock. What fails in it does not hold up other batches."""
    try:
        with context.database.locked(f"{step}:{batch_id}") as ours:
            yield ours
    except ServiceUnavailable:
        raise
    except Exception as error:
        log_fault("pass_failed", error, batch=batch_id)


def open_context(settings: Settings, role: Role, *, connections: int = 8, wait_s: float = 0.0) -> Context:
    """Connect, check the schema and register this process's fleet, policy and prices.

    A database that does not answer is waited for up to `wait_s`, with backoff: a service may start before its servers.
    Raises InvalidConfig or ServiceUnavailable with a remedy.
    """
    config = load(settings.config)
    database = Database(settings, role, connections=connections)
    retrying(lambda: check_schema(database), wait_s)
    with database.unit_of_work() as session:
        registered = versions.register(session, config.versions)
    house = Database(settings, "orchestrator", connections=HOUSE_CONNECTIONS) if role == "app" else database
    return Context(
        settings, config, database, Broker(settings), open_blobs(settings), registered, house, Adviser(settings.blobs)
    )
