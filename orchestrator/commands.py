"""What the command line asks of the server's side. Found by entry point, so that the command line itself stays light.

Each takes settings whose servers are known and returns plain data; the blocking ones return when they are told to stop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator import doctor as examination
from orchestrator import ids, pulse
from orchestrator.errors import InvalidRequest
from orchestrator.flow import administer
from orchestrator.flow.administer import DEFAULT_SCOPES, Actor, OfDisabled
from orchestrator.flow.context import open_context
from orchestrator.patience import START_S
from orchestrator.service import Service
from orchestrator.settings import Settings
from orchestrator.store import migrate as schema
from orchestrator.store import upkeep, versions
from orchestrator.store.session import Database
from orchestrator.store.tenants import HOUSE
from orchestrator.telemetry import configure


def migrate(settings: Settings) -> dict[str, Any]:
    """Bring the database to this release's schema, and make the partitions of the weeks to come."""
    database = Database(settings, "owner", connections=1)
    try:
        before, after = schema.migrate(database)
        with database.unit_of_work() as session:
            partitions = upkeep.add_partitions(session)
    finally:
        database.close()
    return {"before": before, "after": after, "partitions": partitions}


def create_key(
    settings: Settings, name: str, *, tenant: str = HOUSE, project: str = "default", scopes: Sequence[str] = DEFAULT_SCOPES,
    within_s: float | None = None, disabled: OfDisabled = "refuse",
) -> dict[str, Any]:  # fmt: skip
    """Make an API key by the database itself: the way to the first one, and to one that no key is left to make.

    The key is told this once: only its hash is stored. `disabled` says what becomes of a tenant or project that is.
    """
    context = open_context(settings, "orchestrator", connections=1)
    try:
        actor = Actor(administer.tenant_named(context, tenant).id, "command line")
        made = administer.create_key(
            context, actor, name, project=project, scopes=scopes, within_s=within_s, disabled=disabled
        )
    finally:
        context.close()
    expires_at = int(made.expires_at.timestamp()) if made.expires_at else None
    return {
        "id": ids.public("key", made.id), "key": made.key, "prefix": made.prefix, "scopes": list(made.scopes),
        "expires_at": expires_at,
    }  # fmt: skip


def doctor(settings: Settings) -> list[dict[str, Any]]:
    """Everything that was looked at: `name`, `holds`, `detail`."""
    return [asdict(finding) for finding in examination.examine(settings)]


def orchestrator(settings: Settings) -> None:
    """Run the orchestrator until SIGTERM or SIGINT."""
    configure(settings.log_level, settings.log_format)
    pulse.begin(settings)
    context = open_context(settings, "orchestrator", connections=16, wait_s=START_S)
    service = Service(context)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop.set())
    try:
        service.run()
    finally:
        context.close()


def train(
    settings: Settings,
    task: str,
    labels_file: Path,
    text_column: str,
    label_column: str,
    on_progress: Callable[[str, float], None],
) -> dict[str, Any]:
    """Train a specialist for a task from a file of labels, store it, and make it the task's current one."""
    from orchestrator.rightsizing.labels import read_labels
    from orchestrator.rightsizing.train import train as fit

    texts, labels = read_labels(labels_file, text_column, label_column)
    record = fit(texts, labels, task, settings.blobs, on_progress=on_progress).as_dict()
    database = Database(settings, "orchestrator", connections=1)
    try:
        with database.unit_of_work() as session:
            record["task_version"] = versions.put_task(session, task, str(record["version"]), record)
    finally:
        database.close()
    return record


def evaluate(settings: Settings, task: str, labels_file: Path, text_column: str, label_column: str) -> dict[str, Any]:
    """How well a task's specialist answers labelled texts: at least `accuracy` and `n`."""
    from orchestrator.rightsizing.evaluate import evaluate as measure
    from orchestrator.rightsizing.labels import read_labels
    from orchestrator.rightsizing.specialist_format import current_folder

    folder = current_folder(settings.blobs, task)
    if folder is None:
        raise InvalidRequest(f"Task {task} has no specialist yet. Train one: rightsize train {task} --labels FILE.csv")
    texts, labels = read_labels(labels_file, text_column, label_column)
    return {"task": task, **measure(folder, texts, labels).as_dict()}
