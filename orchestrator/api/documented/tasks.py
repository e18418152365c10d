"""Answers about tasks and their documents."""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.api.documented.shapes import Count, Listed, Stamp, Told


class Task(Told):
    """A version of a task."""

    object: Literal["task"]
    name: str
    version: Count
    """0 for a task that comes with Rightsize."""
    digest: str
    built_in: bool
    with_parameters: bool
    """Whether it only has a batch's parameters in their places."""
    created_at: Stamp
    definition: dict[str, Any]


class DefinedTask(Task):
    """The version of a definition."""

    created: bool
    """Whether it is new."""


class Tasks(Listed):
    """Tasks."""

    data: list[Task]


class KnownDocuments(Told):
    """Which documents were answered before."""

    object: Literal["known_documents"]
    task: str
    task_version: Count
    reading: dict[str, Any]
    """How documents of the task are to be read."""
    known: list[str]
    """Their hashes."""
