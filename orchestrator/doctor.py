"""Doctor: is everything as it should be? Servers, versions, eviction, schema, fleet, workers, blobs and all invariants."""

from __future__ import annotations

import os
from collections.abc import Iterator

from orchestrator.blobs import open_blobs
from orchestrator.broker import Broker
from orchestrator.doctoring import blobs, learned, notices
from orchestrator.doctoring.finding import Finding, tried
from orchestrator.errors import RightsizeError
from orchestrator.fleet import Config, load
from orchestrator.settings import Settings
from orchestrator.store import invariants, versions, workers
from orchestrator.store.migrate import NEWEST, OLDEST, check_schema, describe_server
from orchestrator.store.session import Database

__all__ = ["Finding", "examine"]


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one finding after the other; what cannot be reached is a finding too, never a traceback."""
    config: Config | None = None
    try:
        config = load(settings.config)
        tiers = ", ".join(f"{tier} ({len(config.fleet.of_tier(tier))})" for tier in config.fleet.tiers)
        yield Finding("fleet", True, f"{config.source}: {tiers}")
        yield from _keys(config)
    except RightsizeError as error:
        yield Finding("fleet", False, error.message)
    yield tried("redis", lambda: f"version {_broker_version(settings)}, never evicts")
    try:
        database = Database(settings, "orchestrator", connections=2)
        yield Finding("postgres", True, describe_server(database))
    except RightsizeError as error:
        yield Finding("postgres", False, error.message)
        return
    schema = tried("schema", lambda: _schema(database))
    yield schema
    if not schema.holds:
        return
    if config is not None:
        yield from _workers(settings, config, database)
        yield from _waiting(settings, config, database)
    yield from _invariants(settings, config, database)
    yield from notices.examine(database)
    writable = tried("blobs", lambda: _writable(settings))
    yield writable
    if writable.holds:
        yield from blobs.examine(open_blobs(settings), database)
    if config is not None:
        yield from learned.examine(settings, config.fleet, database)
    database.close()


def _schema(database: Database) -> str:
    check_schema(database)
    return f"this release runs on {OLDEST} to {NEWEST}"


def _keys(config: Config) -> Iterator[Finding]:
    for model in config.fleet.models:
        if model.api_key_env and model.api_key_env not in os.environ:
            yield Finding("keys", True, f"{model.name}: {model.api_key_env} is not set here; its workers need it.")


def _broker_version(settings: Settings) -> str:
    broker = Broker(settings)
    try:
        return broker.check()
    finally:
        broker.close()


def _workers(settings: Settings, config: Config, database: Database) -> Iterator[Finding]:
    with database.unit_of_work() as session:
        ours = versions.register(session, config.versions).fleet
        live = workers.live(session, settings.lease_s)
        used = versions.fleet_versions_in_use(session, settings.lease_s)
    told = (
        ", ".join(f"{row.model}: {row.workers} with {row.slots} slots" for row in live)
        or "none is running: what is queued waits for one"
    )
    yield Finding("workers", True, told)
    strangers = sorted({f"{host} pid {pid} ({model})" for host, pid, model, version in used if version != ours})
    if strangers:
        yield Finding(
            "versions",
            False,
            f"Run on another fleet version: {', '.join(strangers)}. Restart them with this rightsize.toml.",
        )
    else:
        yield Finding("versions", True, "every live worker runs on this fleet, policy and prices")


def _waiting(settings: Settings, config: Config, database: Database) -> Iterator[Finding]:
    """Jobs that wait for a model without a live worker, for longer than a worker may take to be heard of and to claim."""
    with database.unit_of_work() as session:
        stranded = workers.stranded(session, settings.lease_s, settings.lease_s + settings.claim_by_s)
    for name, waited_s in stranded:
        model = config.fleet.by_name.get(name)
        remedy = (
            f"Start one with this rightsize.toml: `rightsize worker --tier {model.tier}`. "
            "Where one should run already, its log says why it does not."
            if model
            else f"The fleet here, {config.source}, has no such model: start with the rightsize.toml that has it "
            "(--config), or cancel the batches that wait for it."
        )
        yield Finding(
            "waiting", False, f"Jobs have waited {waited_s:.0f} s for {name}, and no live worker serves it. {remedy}"
        )


def _invariants(settings: Settings, config: Config | None, database: Database) -> Iterator[Finding]:
    """All of design's invariants; the grace is what recovery may take."""
    grace_s = settings.lease_s + 2 * settings.recover_every_s + settings.claim_by_s
    most = config.policy.max_attempts if config else 20
    with database.unit_of_work() as session:
        violations = invariants.check(session, grace_s=grace_s, most_attempts=most)
    for one in violations:
        yield Finding(one.name, False, f"{one.says}: not so for {', '.join(one.examples)}. This is a bug: report it.")
    if not violations:
        yield Finding("invariants", True, f"all {len(invariants.CHECKS)} hold")


def _writable(settings: Settings) -> str:
    store = open_blobs(settings)
    store.check()
    return f"{store.place} can be written"
