"""Tasks: defined, read, and asked which documents were answered before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import Call, Thing, get, path_of
from orchestrator.client.transport import Transport

TASKS: Final = "/v1/tasks"


def with_schemas(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the JSON Schema of each pydantic model that stands in it."""
    return {
        name: value.model_json_schema() if hasattr(value, "model_json_schema") else value
        for name, value in given.items()
    }


def define_call(definition: Mapping[str, Any]) -> Call:
    """Defines a task; the same definition twice is one version."""
    return Call("POST", TASKS, body={"definition": with_schemas(definition)}, again=True)


def known_call(
    task: str, hashes: Sequence[str], version: int | None, parameters: Mapping[str, Any] | None, rightsize: Mapping[str, Any] | None
) -> Call:  # fmt: skip
    """Asks which documents were answered before."""
    body: dict[str, Any] = {"task": task, "hashes": list(hashes), "rightsize": dict(rightsize or {})}
    if version is not None:
        body["task_version"] = version
    if parameters is not None:
        body["parameters"] = parameters
    return Call("POST", "/v1/documents/known", body=body, again=True)


class Tasks:
    """Named kinds of work, in versions."""

    _transport: Transport

    def define_task(self, definition: Mapping[str, Any]) -> Thing:
        """Define a task, or edit one: what differs is its next version. `definition` has what a task's file has.

        Its `output_schema` may be a pydantic model.
        """
        return self._transport.answer(define_call(definition))

    def tasks(self) -> list[Thing]:
        """The tenant's tasks in their latest versions, and those that come with Rightsize."""
        found: list[Thing] = self._transport.answer(get(TASKS))["data"]
        return found

    def task(self, name: str, version: int | None = None) -> Thing:
        """A task in one version, the latest without."""
        return self._transport.answer(get(path_of("tasks", name), {"version": version}))

    def task_versions(self, name: str) -> list[Thing]:
        """Every version of a task, the newest first."""
        found: list[Thing] = self._transport.answer(get(path_of("tasks", name, "versions")))["data"]
        return found

    def known_documents(
        self, task: str, hashes: Sequence[str], *, version: int | None = None, parameters: Mapping[str, Any] | None = None,
        rightsize: Mapping[str, Any] | None = None,
    ) -> Thing:  # fmt: skip
        """Which documents, by the SHA-256 of their bytes, a batch of a task would not run again: at most 10,000 at once."""
        return self._transport.answer(known_call(task, hashes, version, parameters, rightsize))


class AsyncTasks:
    """The same, for asynchronous code."""

    _transport: AsyncTransport

    async def define_task(self, definition: Mapping[str, Any]) -> Thing:
        """Define a task; see `Tasks.define_task`."""
        return await self._transport.answer(define_call(definition))

    async def tasks(self) -> list[Thing]:
        """The tenant's tasks in their latest versions, and those that come with Rightsize."""
        found: list[Thing] = (await self._transport.answer(get(TASKS)))["data"]
        return found

    async def task(self, name: str, version: int | None = None) -> Thing:
        """A task in one version, the latest without."""
        return await self._transport.answer(get(path_of("tasks", name), {"version": version}))

    async def task_versions(self, name: str) -> list[Thing]:
        """Every version of a task, the newest first."""
        found: list[Thing] = (await self._transport.answer(get(path_of("tasks", name, "versions"))))["data"]
        return found

    async def known_documents(
        self, task: str, hashes: Sequence[str], *, version: int | None = None, parameters: Mapping[str, Any] | None = None,
        rightsize: Mapping[str, Any] | None = None,
    ) -> Thing:  # fmt: skip
        """Which documents were answered before; see `Tasks.known_documents`."""
        return await self._transport.answer(known_call(task, hashes, version, parameters, rightsize))
