"""The application: routes, bounds, errors in OpenAI's form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

import orchestrator
from orchestrator.api import (
    administration,
    batches,
    chat,
    failures,
    files,
    forget,
    health,
    insight,
    jobs,
    models,
    progress,
    refusals,
    responses,
    review,
    tasks,
    usage,
    webhooks,
)  # fmt: skip
from orchestrator.api.answers import Answers
from orchestrator.api.documented.document import describe
from orchestrator.api.limits import Bounds, LimitBody
from orchestrator.api.metrics import Measured
from orchestrator.api.naming import Named
from orchestrator.api.serving import Serving
from orchestrator.flow.context import Context

PARTS: Final = (
    files, progress, batches, chat, responses, models, jobs, tasks, review, forget, insight, usage, webhooks, refusals, administration, health,
)  # fmt: skip
"""Each has the routes of one kind of thing."""


def create_app(context: Context, bounds: Bounds | None = None) -> FastAPI:
    """The API over a context that stays the caller's to close."""
    answers = Answers(context.settings)
    serving = Serving(context, bounds or Bounds.of(context.settings), answers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await serving.settle()
        await serving.write(serving.gatherers.close)
        await answers.close()

    app = FastAPI(
        title="Rightsize",
        version=orchestrator.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its own telemetry looks into the environment three times a request, which is a quarter of all that a request costs here.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.serving = serving
    for part in PARTS:
        app.include_router(part.router)
    failures.install(app, [route for part in PARTS for route in part.router.routes])
    describe(app)
    # The last one added is the outermost: what it counts includes what the others refuse.
    app.add_middleware(LimitBody, bounds=serving.bounds)
    app.add_middleware(failures.LastResort)
    app.add_middleware(Measured, metrics=serving.metrics)
    app.add_middleware(Named)
    return app
