"""The registered tasks, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from orchestrator.contracts import EXECUTE_TASK
from orchestrator.telemetry import log_fault
from workers.runtime import Runtime


def register(app: Celery, runtimes: Sequence[Runtime]) -> None:
    """Register what a worker can be asked to do; `runtimes` holds the process's one runtime once it has started."""

    @app.task(name=EXECUTE_TASK, ignore_result=True)
    def execute(dispatch_id: int) -> None:
        """Run one dispatch."""
        try:
            runtimes[0].run_dispatch(dispatch_id)
        except Exception as error:
            # Celery would log it with its text. The end of the lease queues the jobs again.
            log_fault("unexpected_outcome", error, dispatch=dispatch_id)
