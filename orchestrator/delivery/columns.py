"""From a task's JSON schema to the columns of a table, and from an answer to what stands in them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from orchestrator.delivery.answers import Evidence, Result, as_json, escaped, unescaped, valid
from orchestrator.errors import InvalidRequest

Kind = Literal["string", "integer", "number", "boolean", "date", "list", "json"]
"""What a column holds: `list` is scalars joined by `; `, `json` is JSON text."""
Schema = Mapping[str, Any]

MOST_COLUMNS: Final = 1_000
MOST_STEPS: Final = 32
"""From a `$ref` to the next."""
JOINED_BY: Final = "; "
MOST_PLACES: Final = 20
"""Pages that the source of a whole list names."""
SCALARS: Final[Mapping[str, Kind]] = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the answer as a column."""

    name: str
    path: tuple[str, ...]
    """Keys from the top of the answer; none where the column is the answer itself."""
    kind: Kind

    @property
    def pointer(self) -> str:
        """Where the field stands in the answer, as a JSON pointer."""
        return "".join(f"/{escaped(key)}" for key in self.path)

    def value(self, result: Result) -> Any:
        """What the answer says; None where it says nothing."""
        value = result.answer
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def evidence(self, result: Result) -> tuple[Evidence, ...]:
        """Where that was found: of the field itself, else of all that stands below it."""
        own = result.fields.get(self.pointer)
        if own is not None:
            return (own,)
        if not self.path or self.kind not in {"list", "json"}:
            return ()
        below = f"{self.pointer}/"
        return tuple(one for pointer, one in result.fields.items() if pointer.startswith(below))


def columns_of(schema: Schema | None) -> tuple[Column, ...]:
    """The columns of a schema's properties, objects flattened one level; one column `answer` where there are none.

    References within the schema are followed. Raises InvalidRequest where there are more than 1,000.
    """
    if schema is None:
        return (Column("answer", (), "string"),)
    top = _resolved(schema, schema)
    columns: list[Column] = []
    for key, told in _properties(top):
        inner = _resolved(told, schema)
        children = list(_properties(inner))
        if children and _kind(inner, schema) == "json":
            columns += [
                Column(valid(f"{key}.{name}"), (key, name), _kind(_resolved(one, schema), schema))
                for name, one in children
            ]
        else:
            columns.append(Column(valid(key), (key,), _kind(inner, schema)))
        if len(columns) > MOST_COLUMNS:
            raise InvalidRequest(
                f"The schema has over {MOST_COLUMNS:,} fields, too many for a table. Write a folder with a file for each document instead."
            )
    return tuple(columns) or (Column("answer", (), "json"),)


def told_columns(answer: Any) -> tuple[Column, ...]:
    """The columns of an answer whose schema is not known, by what it holds."""
    columns: list[Column] = []
    for key, value in answer.items() if isinstance(answer, Mapping) else ():
        if isinstance(value, Mapping) and value:
            columns += [Column(valid(f"{key}.{name}"), (key, name), _kind_of(inner)) for name, inner in value.items()]
        else:
            columns.append(Column(valid(key), (key,), _kind_of(value)))
    return tuple(columns[:MOST_COLUMNS])


def written(value: Any) -> str:
    """A value as the text of a cell: scalars as they are, lists of them joined, all else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and not any(isinstance(one, list | Mapping) for one in value):
        return JOINED_BY.join(map(written, value))
    return as_json(value) if isinstance(value, list | Mapping) else str(value)


def is_filled(value: Any) -> bool:
    """Whether a field has a value: false, and 0, are some; nothing, an empty text and an empty list are none."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value not in ([], {})


def lowest(evidence: tuple[Evidence, ...]) -> float | None:
    """The lowest confidence in it."""
    return min((one.confidence for one in evidence if one.confidence is not None), default=None)


def source(evidence: tuple[Evidence, ...]) -> str:
    """Where a value stands: `p. 2 (0.10,0.20,0.40,0.22)`, or `not found`; of several things the pages, each once."""
    if len(evidence) == 1:
        return _place(evidence[0], with_box=True)
    places = list(dict.fromkeys(place for one in evidence if (place := _place(one, with_box=False))))
    return JOINED_BY.join([*places[:MOST_PLACES], *(["…"] if len(places) > MOST_PLACES else [])])


def reviews(evidence: tuple[Evidence, ...]) -> tuple[str, ...]:
    """Why a person should look at it, each reason once."""
    return tuple(dict.fromkeys(one.review for one in evidence if one.review))


def _place(one: Evidence, *, with_box: bool) -> str:
    if one.found is False:
        return "not found"
    if one.page is None:
        return "found" if one.found else ""
    box = f" ({','.join(f'{edge:.2f}' for edge in one.box)})" if with_box and one.box else ""
    return f"p. {one.page}{box}"


def _properties(schema: Schema) -> Iterator[tuple[str, Schema]]:
    told = schema.get("properties")
    for key, one in told.items() if isinstance(told, Mapping) else ():
        yield str(key), one if isinstance(one, Mapping) else {}


def _resolved(schema: Schema, root: Schema) -> Schema:
    """A schema without what only leads to it: references, a choice between it and null, a list of one."""
    for _ in range(MOST_STEPS):
        reference = schema.get("$ref")
        found = _referred(root, reference) if isinstance(reference, str) else _only_choice(schema)
        if found is None:
            break
        schema = found
    return schema


def _only_choice(schema: Schema) -> Schema | None:
    for word in ("anyOf", "oneOf", "allOf"):
        given = schema.get(word)
        if isinstance(given, list) and "properties" not in schema:
            some = [one for one in given if isinstance(one, Mapping) and one.get("type") != "null"]
            if len(some) == 1:
                return some[0]
    return None


def _referred(root: Schema, reference: str) -> Schema | None:
    if not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        found = found.get(unescaped(part)) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _kind(schema: Schema, root: Schema) -> Kind:
    types = _types(schema)
    if types == {"string"} and schema.get("format") == "date":
        return "date"
    if len(types) == 1 and (scalar := SCALARS.get(next(iter(types)))):
        return scalar
    if types == {"integer", "number"}:
        return "number"
    if types == {"array"}:
        items = schema.get("items")
        inner = _resolved(items, root) if isinstance(items, Mapping) else {}
        return "list" if (told := _types(inner)) and told <= set(SCALARS) else "json"
    return "string" if types and types <= set(SCALARS) else "json"


def _types(schema: Schema) -> set[str]:
    told = schema.get("type")
    if isinstance(told, list):
        return {one for one in told if isinstance(one, str)} - {"null"}
    if isinstance(told, str):
        return {told}
    if "properties" in schema:
        return {"object"}
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        return {_type_of(one) for one in values if one is not None}
    given = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(given, list):
        return {name for one in given if isinstance(one, Mapping) for name in _types(one)} - {"null"}
    return set()


def _type_of(value: Any) -> str:
    for name, kind in (("boolean", bool), ("string", str), ("integer", int), ("array", list), ("object", Mapping)):
        if isinstance(value, kind):
            return name
    return "number"


def _kind_of(value: Any) -> Kind:
    if isinstance(value, list):
        return "json" if any(isinstance(one, list | Mapping) for one in value) else "list"
    return SCALARS.get(_type_of(value), "json") if value is not None else "string"
