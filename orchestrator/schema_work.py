"""How much work a JSON schema makes of one answer: references and nesting multiply it without bound. Pure.

A checker walks the schema once for every place of the answer, and anew for each reference: a few lines that refer to one
another twice each are 2^n evaluations. So the work is counted before it is done, where the same part at the same place of the
answer is counted once with its multiplicity: counting takes about as many steps as schema and answer are long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

Schema = Mapping[str, Any]
Wave = dict[tuple[int, int], tuple[Schema, object, int]]
"""Parts, each with a value that it is applied to, and how often."""

MOST_IN_PLACE: Final = 10_000
"""Evaluations that one part of a schema may cause at one place of an answer."""
MOST_STEPS: Final = 1_000_000
AGAIN: Final = 3
"""`unevaluated...` looks at everything beside it again: so many times the work of that, at most."""
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SINGLE: Final = ("not", "if", "then", "else")
_NAMED: Final = ("dependentSchemas", "dependencies")
_UNEVALUATED: Final = ("unevaluatedProperties", "unevaluatedItems")
_OF_MEMBERS: Final = ("additionalProperties", "unevaluatedProperties")
_OF_ITEMS: Final = ("contains", "additionalItems", "unevaluatedItems")


class UnboundedError(ValueError):
    """A schema that multiplies itself; its text ends the sentence "The schema ..."."""


class Work:
    """Counts the work of one schema; raises UnboundedError for one that no answer could be checked against."""

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._anchors = {part["$anchor"]: part for part in _parts(schema) if isinstance(part.get("$anchor"), str)}
        self._beside: dict[int, list[Schema]] = {}
        parts = list(_parts(schema))
        self.size = len(parts)
        """How many parts it has."""
        self.multiplies = any(key in part for part in parts for key in ("$ref", *_UNEVALUATED))
        """Whether it may make more work than its own size for each value of an answer."""
        for part in parts:
            _check_names(part, is_root=part is schema)
            self._beside[id(part)] = list(self._in_place(part))
        if max(self._weights(parts), default=1) > MOST_IN_PLACE:
            raise UnboundedError(
                "applies its own parts to the same value over 10,000 times. Refer to each part once, and nest "
                "`unevaluatedProperties` and `unevaluatedItems` less"
            )

    def of(self, value: object, most: int) -> int:
        """About how many evaluations a value takes; anything above `most` once there are more."""
        total = steps = 0
        wave: Wave = {(id(self._root), id(value)): (self._root, value, 1)}
        while wave:
            found: Wave = {}
            for part, at, times in wave.values():
                total, steps = total + times, steps + 1
                if total > most or steps > MOST_STEPS:
                    return max(total, most + 1)
                for other, where, more in self._applied(part, at):
                    key = id(other), id(where)
                    known = found[key][2] if key in found else 0
                    found[key] = other, where, known + times * more
            wave = found
        return total

    def _applied(self, part: Schema, value: object) -> Iterator[tuple[Schema, object, int]]:
        more = AGAIN if any(key in part for key in _UNEVALUATED) else 1
        for other in self._beside[id(part)]:
            yield other, value, more
        for below, where in _below(part, value):
            if isinstance(below, Mapping):
                yield below, where, more

    def _in_place(self, part: Schema) -> Iterator[Schema]:
        """The parts that are applied to the same value."""
        if isinstance(part.get("$ref"), str):
            yield self._referred(part["$ref"])
        given = [one for key in _LISTS if isinstance(part.get(key), list) for one in part[key]]
        given += [part[key] for key in _SINGLE if key in part]
        given += [one for key in _NAMED if isinstance(part.get(key), Mapping) for one in part[key].values()]
        yield from (one for one in given if isinstance(one, Mapping))

    def _referred(self, reference: str) -> Schema:
        found: Any = self._root
        name = unquote(reference.removeprefix("#"))
        if name and not name.startswith("/"):
            found = self._anchors.get(name)
        for step in name.split("/")[1:] if name.startswith("/") else ():
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(found):
                found = found[int(key[:9])]
            else:
                found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, bool):
            return {}
        if not isinstance(found, Mapping):
            raise UnboundedError(f"refers to {reference[:80]!r}, which is no part of it")
        return found

    def _weights(self, parts: Sequence[Schema]) -> list[int]:
        """How many evaluations each part causes at one place: from those that apply no others upwards."""
        applied_by: dict[int, list[Schema]] = {}
        left = {id(part): len(self._beside[id(part)]) for part in parts}
        for part in parts:
            for other in self._beside[id(part)]:
                applied_by.setdefault(id(other), []).append(part)
        ready, weights = [part for part in parts if not left[id(part)]], dict[int, int]()
        while ready:
            part = ready.pop()
            more = AGAIN if any(key in part for key in _UNEVALUATED) else 1
            weights[id(part)] = 1 + more * sum(weights.get(id(other), 1) for other in self._beside[id(part)])
            for user in applied_by.get(id(part), ()):
                left[id(user)] -= 1
                if not left[id(user)]:
                    ready.append(user)
        if len(weights) < len(left):
            raise UnboundedError("refers to itself in the same place, without going deeper into the answer")
        return list(weights.values())


def _parts(value: object) -> Iterator[Schema]:
    """Every object of a schema, itself the first."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one


def _check_names(part: Schema, *, is_root: bool) -> None:
    for key in ("$dynamicRef", "$recursiveRef"):
        if isinstance(part.get(key), str):
            raise UnboundedError(f"uses {key}. Use $ref: it names its target")
    if isinstance(part.get("$id"), str) and not is_root:
        raise UnboundedError("holds a schema with an $id of its own. Put the part into $defs, and leave $id out")


def _below(part: Schema, value: object) -> Iterator[tuple[object, object]]:
    """The parts that are applied to what a value holds, each with that."""
    if isinstance(value, dict):
        for name, one in _mapping(part, "properties").items():
            if name in value:
                yield one, value[name]
        everywhere = [*_mapping(part, "patternProperties").values(), *(part[key] for key in _OF_MEMBERS if key in part)]
        yield from ((one, member) for one in everywhere for member in value.values())
        if "propertyNames" in part:
            yield from ((part["propertyNames"], name) for name in value)
    elif isinstance(value, list):
        items = part.get("items")
        first = part.get("prefixItems", items if isinstance(items, list) else None)
        yield from zip(first if isinstance(first, list) else (), value, strict=False)
        everywhere = [items, *(part[key] for key in _OF_ITEMS if key in part)]
        yield from ((one, item) for one in everywhere for item in value)


def _mapping(part: Schema, key: str) -> Mapping[str, Any]:
    found = part.get(key)
    return found if isinstance(found, Mapping) else {}
