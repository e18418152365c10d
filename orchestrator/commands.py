"""What the command line asks of the server's side. Found by entry point, so that the command line itself stays light.

Each takes settings whose servers are known and returns plain data; the blocking ones return when they are told to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator import doctor as examination
from orchestrator import ids, pulse
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.flow import administer
from orchestrator.flow.administer import DEFAULT_SCOPES, Actor, OfDisabled
from orchestrator.flow.context import open_context
from orchestrator.patience import START_S
from orchestrator.service import Service
from orchestrator.settings import Settings
from orchestrator.stopping import on_signals
from orchestrator.store import migrate as schema
from orchestrator.store import upkeep, versions
from orchestrator.store.session import Database
from orchestrator.store.tenants import HOUSE
from orchestrator.telemetry import configure

if TYPE_CHECKING:
    from orchestrator.rightsizing.evidence.past import History

FAMILIAR: Final = 1_000
"""Texts of a training whose familiarity is stored with it, for drift to be held against."""


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
    on_signals(service.stop)
    try:
        service.run()
    finally:
        context.close()


def train(
    settings: Settings,
    task: str,
    labels_file: Path | None,
    text_column: str,
    label_column: str,
    on_progress: Callable[[str, float], None],
    *,
    encoder: str = "auto",
    certify_rows: int | None = None,
    from_history: bool = False,
) -> dict[str, Any]:
    """Train a specialist for a task, store it, and make it the task's current one: from a file of labels, or from what its reference answered.

    With `auto` it uses the sentence encoder where that is here, and says which way it went; with `none` it learns n-grams alone.
    """
    from orchestrator.learned.specialist import kept, version_folder
    from orchestrator.rightsizing.training.labels import read_labels
    from orchestrator.rightsizing.training.train import train as fit

    if (labels_file is None) != from_history:
        raise InvalidRequest("Train on --labels FILE.csv, or --from-history: one of the two.", param="labels")
    if labels_file is not None:
        texts, labels = read_labels(labels_file, text_column, label_column)
        told: dict[str, Any] = {"labels_from": "labels"}
    else:
        history = _history(settings, task)
        texts, labels = history.texts, history.labels
        told = {"labels_from": "reference", **history.told}
    found = _encoder(settings, encoder, on_progress)
    made = fit(texts, labels, task, settings.blobs, encoder=found, certify_rows=certify_rows, on_progress=on_progress)
    record = {**made.as_dict(), **told}
    familiarity = kept(version_folder(settings.blobs, task, made.version)).familiarity(FAMILIAR)
    database = Database(settings, "orchestrator", connections=1)
    try:
        with database.unit_of_work() as session:
            training = {**record, "familiarity": familiarity}
            record["task_version"] = versions.put_task(session, task, made.version, training)
        record["card"] = str(version_folder(settings.blobs, task, made.version) / "card.md")
    finally:
        database.close()
    return record


def _history(settings: Settings, task: str) -> History:
    """What the task's reference answered, as texts and labels."""
    from orchestrator.rightsizing.evidence import measuring, past

    context = open_context(settings, "orchestrator", connections=2)
    try:
        tenant_id = int(administer.tenant_named(context, HOUSE).id)
        reference = measuring.reference_of(context, tenant_id, task)
        return past.history(context, tenant_id, task, reference)
    finally:
        context.close()


def _encoder(settings: Settings, wanted: str, on_progress: Callable[[str, float], None]) -> Any:
    """The sentence encoder to train with, or None."""
    from orchestrator.learned.encoder import MODEL, encoders_of, open_encoder

    if wanted not in ("auto", "none"):
        raise InvalidRequest(f"--encoder {wanted[:40]} is not known. Use auto or none.", param="encoder")
    if wanted == "none":
        on_progress("with n-grams alone", 0.0)
        return None
    try:
        found = open_encoder(encoders_of(settings.blobs))
    except NotFound as error:
        on_progress(f"with n-grams alone: {error.message}", 0.0)
        return None
    on_progress(f"with sentence vectors of {MODEL}, and n-grams", 0.0)
    return found


def evaluate(settings: Settings, task: str, labels_file: Path, text_column: str, label_column: str) -> dict[str, Any]:
    """How well a task's specialist answers labelled texts: at least `accuracy` and `n`."""
    from orchestrator.learned.specialist import current_folder
    from orchestrator.rightsizing.training.evaluate import evaluate as measure
    from orchestrator.rightsizing.training.labels import read_labels

    folder = current_folder(settings.blobs, task)
    if folder is None:
        raise InvalidRequest(f"Task {task} has no specialist yet. Train one: rightsize train {task} --labels FILE.csv")
    texts, labels = read_labels(labels_file, text_column, label_column)
    return {"task": task, **measure(folder, texts, labels).as_dict()}
