"""`/livez`, `/readyz` and `/metrics`. None asks for a key: none of them says anything about a tenant."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from fastapi import APIRouter, Request
from redis.exceptions import RedisError
from starlette.datastructures import State
from starlette.responses import Response

from orchestrator.api.bodies import answer
from orchestrator.api.serving import Serving, serving_of
from orchestrator.blobs import BlobStore
from orchestrator.errors import RightsizeError
from orchestrator.settings import MIB
from orchestrator.store import gauges
from orchestrator.store.migrate import check_schema

router = APIRouter(tags=["health"])

WITHIN_S: Final = 3.0
LEAST_FREE: Final = 64 * MIB
"""Bytes; below it files and rows may soon find no room."""
FRESH_S: Final = 2.0
"""Metrics are read from the store at most so often, whoever asks."""
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/livez")
async def livez() -> Response:
    """Whether this process answers at all."""
    return answer({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether it can serve: database, schema, Redis and room on the disk; 503 says what is missing."""
    serving = serving_of(request)
    database = await serving.probe(WITHIN_S, lambda: _database(serving))
    checks = {
        "database": f"The database did not answer within {WITHIN_S:g} s." if database is None else database,
        "redis": await _redis(serving),
        "disk": await _disk(serving, request.app.state),
    }
    ready = all(found == "ok" for found in checks.values())
    return answer({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    serving = serving_of(request)
    state = request.app.state
    if time.monotonic() - getattr(state, "gauges_read_at", float("-inf")) > FRESH_S:
        state.gauges_read_at = time.monotonic()
        found, rejected = await serving.probe(WITHIN_S, lambda: _gauges(serving)) or ([], {})
        serving.metrics.forget()
        serving.metrics.show(found, rejected, serving.context.config.fleet)
    return Response(serving.metrics.text(), media_type=TEXT)


def _database(serving: Serving) -> str:
    try:
        check_schema(serving.context.database)
    except RightsizeError as error:
        return error.message
    return "ok"


async def _disk(serving: Serving, state: State) -> str:
    """Room for blobs; where a store cannot tell, whether it takes and gives one, asked at most every FRESH_S."""
    blobs = serving.context.blobs
    try:
        free = blobs.free_bytes()
    except RightsizeError as error:
        return error.message
    if free is not None:
        return "ok" if free >= LEAST_FREE else f"The disk of {blobs.place} has {free // MIB} MiB left. Make room on it."
    if time.monotonic() - getattr(state, "blobs_read_at", float("-inf")) > FRESH_S:
        state.blobs_read_at = time.monotonic()
        found = await serving.probe(WITHIN_S, lambda: _works(blobs))
        state.blobs_found = f"{blobs.place} did not answer within {WITHIN_S:g} s." if found is None else found
    return str(getattr(state, "blobs_found", f"{blobs.place} was not heard of yet."))


def _works(blobs: BlobStore) -> str:
    try:
        blobs.check()
    except RightsizeError as error:
        return error.message
    return "ok"


async def _redis(serving: Serving) -> str:
    try:
        async with asyncio.timeout(WITHIN_S):
            await serving.answers.ping()
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        return f"Redis does not answer ({type(error).__name__}). Check RIGHTSIZE_REDIS_URL and the server."
    return "ok"


def _gauges(serving: Serving) -> tuple[list[gauges.Gauge], dict[str, float]]:
    context = serving.context
    names = [model.name for model in context.config.fleet.models]
    try:
        with context.house.unit_of_work() as session:
            return gauges.gauges(session, names, context.settings.lease_s), gauges.rejected_shares(session)
    except RightsizeError:
        return [], {}
