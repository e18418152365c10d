"""The registered tasks, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from orchestrator.contracts import EXECUTE_TASK
from workers.runtime import Runtime


def register(app: Celery, runtimes: Sequence[Runtime]) -> None:
    """Register what a worker can be asked to do; `runtimes` holds the process's one runtime once it has started."""

    @app.task(name=EXECUTE_TASK, ignore_result=True)
    def execute(dispatch_id: int) -> None:
        """Run one dispatch."""
        runtimes[0].run_dispatch(dispatch_id)
