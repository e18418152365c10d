"""What is given with each batch of a task, such as labels: put into its instructions and its schema. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import InvalidRequest, quoted
from orchestrator.structured import checked_schema
from orchestrator.tasks.definition import PLACE, Task

MOST: Final = 500
"""Entries of a list."""
MOST_CHARS: Final = 10_000


def resolved(task: Task, given: Mapping[str, Any]) -> Task:
    """The task with its parameters' values in their places: a definition of its own, with a digest of its own.

    `schema` is the form of the answers; `{{name}}` in the instructions stands for a text, or for a list with a dash before each
    entry; a text of the schema that is `{{name}}` alone stands for the value itself. Raises InvalidRequest that names the parameter.
    """
    if missing := set(task.parameters) - given.keys():
        raise InvalidRequest(f"The task {task.name} needs {quoted(missing)}. {_remedy(missing)}", param=min(missing))
    if unknown := given.keys() - set(task.parameters):
        known = f"It takes {quoted(task.parameters)}." if task.parameters else "It takes none."
        raise InvalidRequest(f"The task {task.name} has no parameter {quoted(unknown)}. {known}", param=min(unknown))
    values = {name: _checked(name, given[name]) for name in task.parameters}
    schema = values.get("schema") or task.output_schema
    schema = _placed(schema, values) if schema is not None else None
    if schema is not None:
        checked_schema(schema, "schema")
    instructions = PLACE.sub(lambda found: _as_text(values[found[1]]), task.instructions)
    return task.model_copy(update={"instructions": instructions.strip(), "output_schema": schema, "parameters": ()})


def _checked(name: str, value: Any) -> Any:
    if name == "schema":
        if not isinstance(value, Mapping):
            raise InvalidRequest("`schema` must be a JSON Schema, an object.", param=name)
        return dict(value)
    entries = value if isinstance(value, list) else [value]
    if not 0 < len(entries) <= MOST or not all(
        isinstance(one, str) and len(one.strip()) > 0 and len(one) <= MOST_CHARS for one in entries
    ):
        raise InvalidRequest(
            f"`{name}` must be text of at most {MOST_CHARS:,} characters, or a list of 1 to {MOST} such texts.",
            param=name,
        )
    if name == "labels" and (not isinstance(value, list) or len(set(value)) < max(2, len(value))):
        raise InvalidRequest("`labels` must be a list of two or more labels, each once.", param=name)
    return [value] if name == "questions" and isinstance(value, str) else value


def _as_text(value: Any) -> str:
    return "\n".join(f"- {one}" for one in value) if isinstance(value, list) else str(value)


def _placed(value: Any, values: Mapping[str, Any]) -> Any:
    """A schema with the values in their places."""
    if isinstance(value, Mapping):
        return {key: _placed(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_placed(one, values) for one in value]
    found = PLACE.fullmatch(value) if isinstance(value, str) else None
    return values.get(found[1], value) if found else value


def _remedy(missing: set[str]) -> str:
    flags = {"labels": "--labels a,b,c", "schema": "--schema FILE", "questions": "--question TEXT"}
    return f"Give {' and '.join(flags.get(name, f'--set {name}=TEXT') for name in sorted(missing))}."
