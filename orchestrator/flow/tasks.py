"""Tasks as callers see them: defined, listed, and with a batch's parameters in their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.flow.context import Context
from orchestrator.hints import TASK_NAME
from orchestrator.store import tasks
from orchestrator.tasks import builtin
from orchestrator.tasks.definition import Task, task_from
from orchestrator.tasks.parameters import resolved

MOST_VERSIONS: Final = 10_000
"""Of one task: schemas and labels that are given with batches make versions, too."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a task."""

    task: Task
    version: int
    """0 for a task that comes with Rightsize and was not used yet."""
    digest: str


def define(context: Context, owner: Owner, raw: object) -> dict[str, Any]:
    """Store a task as its next version; the same definition is the same version. Raises InvalidRequest that names the key."""
    task = task_from(raw)
    if builtin.builtin(task.name) is not None:
        raise InvalidRequest(f"{task.name} comes with Rightsize. Give your task a name of its own.", param="name")
    with context.database.unit_of_work(owner.tenant_id) as session:
        row, is_new = tasks.put(session, owner.tenant_id, task.name, task.digest, task.model_dump(mode="json"))
        _check_count(row)
    return {**told(row), "created": is_new}


def show(context: Context, owner: Owner, name: str, version: int | None = None) -> dict[str, Any]:
    """A task in one version, the latest without; raises NotFound that says what there is."""
    row = None
    if TASK_NAME.fullmatch(name):
        with context.database.unit_of_work(owner.tenant_id) as session:
            row = tasks.find(session, owner.tenant_id, name, version)
    if row is not None:
        return told(row)
    known = builtin.builtin(name)
    if known is None or version is not None:
        raise NotFound(
            f"There is no task {name[:80]!r}{f' in version {version}' if version is not None else ''}. "
            f"`rightsize tasks list` shows those there are; {', '.join(builtin.NAMES)} come with Rightsize."
        )
    return told_builtin(known)


def listed(context: Context, owner: Owner) -> list[dict[str, Any]]:
    """The tenant's tasks, and those that come with Rightsize."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        own = [told(row) for row in tasks.latest(session, owner.tenant_id)]
    given = [told_builtin(task) for name in builtin.NAMES if (task := builtin.builtin(name)) is not None]
    return [*own, *given]


def history(context: Context, owner: Owner, name: str) -> list[dict[str, Any]]:
    """Every version of a task, the newest first; raises NotFound where there is none."""
    found: list[dict[str, Any]] = []
    if TASK_NAME.fullmatch(name):
        with context.database.unit_of_work(owner.tenant_id) as session:
            found = [told(row) for row in tasks.versions(session, owner.tenant_id, name)]
    return found or [show(context, owner, name)]


def resolve(session: Session, owner: Owner, name: str, version: int | None, parameters: Mapping[str, Any]) -> Version:
    """The version of a task with a batch's parameters in their places, stored where it is new.

    Raises NotFound for a task that nobody defined, and InvalidRequest that names the parameter.
    """
    row = tasks.find(session, owner.tenant_id, name, version) if TASK_NAME.fullmatch(name) else None
    task = task_from(row.definition) if row is not None else builtin.builtin(name)
    if task is None:
        raise NotFound(
            f"There is no task {name[:80]!r}. Define it (`rightsize tasks create FILE`), or take one of those that come with "
            f"Rightsize: {', '.join(builtin.NAMES)}.",
            param="task",
        )
    if row is not None and not task.parameters and not parameters:
        return Version(task, row.version, row.digest)
    whole = resolved(task, parameters)
    stored, _ = tasks.put(
        session, owner.tenant_id, name, whole.digest, whole.model_dump(mode="json"), based_on=task.digest
    )
    _check_count(stored)
    return Version(whole, stored.version, stored.digest)


def unstored(
    session: Session, owner: Owner, name: str | None, version: int | None, parameters: Mapping[str, Any]
) -> Version | None:  # fmt: skip
    """The same without storing anything, for an estimate; None for a name that is no more than one of repetitive work."""
    if name is None or (version is None and not parameters and not is_defined(session, owner, name)):
        return None
    row = tasks.find(session, owner.tenant_id, name, version)
    task = task_from(row.definition) if row is not None else builtin.builtin(name)
    if task is None:
        raise NotFound(f"There is no task {name[:80]!r}, or not in that version.", param="task")
    whole = resolved(task, parameters) if task.parameters or parameters else task
    return Version(whole, row.version if row is not None else 0, whole.digest)


def is_defined(session: Session, owner: Owner, name: str) -> bool:
    """Whether a name is that of a task with a definition, and not only of repetitive work."""
    return builtin.builtin(name) is not None or tasks.find(session, owner.tenant_id, name) is not None


def of_version(session: Session, tenant_id: int, name: str, version: int) -> Version:
    """A version that was resolved before; raises NotFound where it is gone."""
    row = tasks.find(session, tenant_id, name, version)
    if row is None:
        raise NotFound(f"There is no version {version} of the task {name}.", param="task")
    return Version(task_from(row.definition), row.version, row.digest)


def _check_count(row: Row[Any]) -> None:
    if row.version > MOST_VERSIONS:
        raise InvalidRequest(
            f"The task {row.name} has {MOST_VERSIONS:,} versions. Define another one, or give the same parameters again.",
            param="task",
        )


def told(row: Row[Any]) -> dict[str, Any]:
    """A version as callers see it."""
    return {
        "object": "task", "name": row.name, "version": row.version, "digest": row.digest, "built_in": False,
        "with_parameters": row.based_on is not None, "created_at": int(row.created_at.timestamp()), "definition": row.definition,
    }  # fmt: skip


def told_builtin(task: Task) -> dict[str, Any]:
    """The same of a task that comes with Rightsize."""
    return {
        "object": "task", "name": task.name, "version": 0, "digest": task.digest, "built_in": True, "with_parameters": False,
        "created_at": 0, "definition": task.model_dump(mode="json"),
    }  # fmt: skip
