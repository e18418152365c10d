"""Every log event, metric and span name, in one table. `docs/telemetry.md` explains them to operators."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.errors import BlobsAway, ServiceUnavailable

LOGGER: Final = "rightsize"
MOST_FRAMES: Final = 12
MOST_FIRST_CHARS: Final = 200

EVENTS: Final[Mapping[str, str]] = {
    "started": "a process is up and ready",
    "stopping": "a process was told to stop",
    "stopped": "a process ended in order",
    "pass_failed": "a pass of the orchestrator raised; it is tried again",
    "database_away": "the database does not answer; waiting with backoff",
    "unavailable": "requests are answered with 503, since a server is away or there is no room",
    "blobs_away": "the blob store does not answer; what needs it waits",
    "message_dropped": "a queue of dispatches held something that is none; it is gone",
    "broker_away": "Redis does not answer; waiting with backoff",
    "recovered": "lost or unclaimed work was queued again",
    "read_failed": "a batch, or a row of one, met a fault of ours while it was read; it failed",
    "batch_read": "the rows of batches were read",
    "batch_finished": "batches got their files and final counts",
    "partitions": "partitions were made or dropped",
    "orphans_erased": "bodies, results and uploads past the retention that no row knew were deleted",
    "webhooks_sent": "events were sent to webhook endpoints",
    "budget_alerts": "budgets came to 50, 80 or 100% of their limit",
    "drifted": "what a specialist is asked is no longer what its certificate was issued on: more of it is audited",
    "demoted": "a specialist no longer answers alone: its quality is below its target, or its certificate expired",
    "promoted": "a specialist came to its next stage, as its certificate allows",
    "given_back": "jobs were given back uncounted at an orderly stop",
    "lease_lost": "a worker held dispatches whose lease it has lost; their results are dropped",
    "unexpected_outcome": "an engine raised something that is not an EngineFault; the job failed",
    "engine_loading": "an engine loads its weights, and goes on doing so",
    "engine_loaded": "an engine is ready",
    "engine_dead": "an engine of ours died or hangs; its worker leaves, and its jobs go back",
    "engine_closed": "an engine of ours ended in order; what it did since it was loaded",
    "engine_close_failed": "an engine of ours could not be closed in order; the rest of the stop goes on",
    "load_unreadable": "an engine's report of its load cannot be read; it gets less work until it can",
    "load_readable": "an engine's report of its load can be read again",
    "replica_checked": "a model's server was asked which models it serves",
    "replica_away": "a model's server cannot be reached; others get its requests",
    "replica_back": "a model's server can be reached again",
    "replica_silent": "a vLLM server does not say how busy it is; it gets less work",
    "request_failed": "the API met a fault of ours",
}
"""Log events by name. None of them ever carries a prompt, an answer or a secret."""

METRICS: Final[Mapping[str, str]] = {
    "rightsize_http_requests_total": "API requests by route, method and status",
    "rightsize_http_request_seconds": "time of API requests by route",
    "rightsize_jobs_queued": "jobs queued, by model",
    "rightsize_dispatches_open": "dispatches that have not ended, by model",
    "rightsize_oldest_queued_seconds": "age of the oldest queued job, by model",
    "rightsize_queued_work_seconds": "seconds of one worker's work that are queued or on their way, by model",
    "rightsize_workers": "live workers, by model",
    "rightsize_slots": "slots of live workers, by model",
    "rightsize_rejected_share": "share of a model's answers in cascades that was not accepted, among the newest jobs",
}


def configure(level: str, style: str) -> None:
    """Send log events to standard error, as text for people or as JSON for machines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("celery", "kombu", "amqp", "uvicorn.access", "alembic", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger(chatty).level))


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event of the table with its fields."""
    if event not in EVENTS:
        raise KeyError(f"{event} is not in telemetry.EVENTS")
    logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})


def log_fault(event: str, error: BaseException, **fields: Any) -> None:
    """Log a fault of ours by its type and where it came from.

    Its own text stays out: it may quote a request, an answer, or the parameters of a statement.
    """
    frames = "".join(traceback.format_tb(error.__traceback__)[-MOST_FRAMES:])
    log(event, logging.ERROR, **fields, error=type(error).__name__, frames=frames)


def log_away(error: ServiceUnavailable, **fields: Any) -> None:
    """Log which server a step waits for: the blob store, or else the database."""
    event = "blobs_away" if isinstance(error, BlobsAway) else "database_away"
    log(event, logging.WARNING, detail=error.message, **fields)


def keep_first_lines(logger: str) -> None:
    """Leave of what another library's logger writes the first line, where it says what is wrong: behind it stands the request."""
    logging.getLogger(logger).addFilter(_first_line)


def _first_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().partition("\n")[0][:MOST_FIRST_CHARS], ()
    return True


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "fields", {}).items())
        text = f"{stamp} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)
