"""The answers to the pieces of a document as one: put together, merged field by field, or by vote. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.tasks.checks import escaped
from orchestrator.tasks.definition import Reduce

MOST_CONFLICTS: Final = 1_000
MOST_DEPTH: Final = 12


@dataclass(frozen=True, slots=True)
class Reduced:
    """One answer, and the fields of which the pieces said different things."""

    answer: str
    conflicts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """By JSON pointer, what was said; the first of it stands in the answer."""


def reduced(answers: Sequence[str], rule: Reduce, schema: Mapping[str, Any] | None) -> Reduced:
    """The one answer by a rule, of answers of a form where they have one; of a `tree` nobody but a model can make it.

    Raises ValueError for answers that are not JSON where they should be.
    """
    if len(answers) == 1:
        return Reduced(answers[0])
    if rule == "vote":
        return _voted(answers)
    if schema is None:
        return Reduced("\n\n".join(one.strip() for one in answers if one.strip()))
    values = [json.loads(one) for one in answers]
    merging = _Merging(keys_in(schema))
    joined = values[0]
    for one in values[1:]:
        joined = merging.merged(joined, one)
    return Reduced(json.dumps(joined, ensure_ascii=False), merging.conflicts)


def keys_in(schema: Mapping[str, Any], here: str = "", depth: int = 0) -> dict[str, str]:
    """By pointer, the lists of a form whose entries are told apart by a field that has its values from a list, such as a question."""
    found: dict[str, str] = {}
    properties, items = schema.get("properties"), schema.get("items")
    if depth > MOST_DEPTH:
        return found
    if isinstance(items, Mapping) and isinstance(items.get("properties"), Mapping):
        named = (name for name, one in items["properties"].items() if isinstance(one, Mapping) and one.get("enum"))
        if (key := next(named, None)) is not None and key in (items.get("required") or ()):
            found[here] = key
    for name, one in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(one, Mapping):
            found |= keys_in(one, f"{here}/{escaped(name)}", depth + 1)
    return found


def _voted(answers: Sequence[str]) -> Reduced:
    """What most pieces say; of equals the first."""
    alike = [_same(one) for one in answers]
    counted = Counter(alike)
    most = max(counted.values())
    winner = next(place for place, one in enumerate(alike) if counted[one] == most)
    said = list(dict.fromkeys(alike))
    return Reduced(
        answers[winner], {"": [json.loads(one) if _is_json(one) else one for one in said]} if len(said) > 1 else {}
    )


@dataclass(frozen=True, slots=True)
class _Merging:
    """Merges values, and notes in what they differ."""

    keys: Mapping[str, str]
    conflicts: dict[str, list[Any]] = field(default_factory=dict)

    def merged(self, one: Any, other: Any, here: str = "") -> Any:
        """Two values as one: what only one of them has is taken, lists go one behind the other, and of two that differ the first stands."""
        if _says_nothing(one):
            return other
        if _says_nothing(other) or one == other:
            return one
        if isinstance(one, dict) and isinstance(other, dict):
            return {
                key: self.merged(one.get(key), other.get(key), f"{here}/{escaped(key)}") for key in {**one, **other}
            }
        if isinstance(one, list) and isinstance(other, list):
            return self._lists(one, other, here)
        if len(self.conflicts) < MOST_CONFLICTS:
            said = self.conflicts.setdefault(here, [one])
            if other not in said:
                said.append(other)
        return one

    def _lists(self, one: list[Any], other: list[Any], here: str) -> list[Any]:
        """Entries that are told apart by a field are merged one by one; others are kept once each."""
        key = self.keys.get(here)
        if key is None:
            return [*one, *(entry for entry in other if entry not in one)]
        joined = list(one)
        places = {_of(entry, key): place for place, entry in enumerate(one)}
        for entry in other:
            place = places.get(_of(entry, key))
            if place is None:
                places[_of(entry, key)] = len(joined)
                joined.append(entry)
            else:
                joined[place] = self.merged(joined[place], entry, f"{here}/{place}")
        return joined


def is_in_list(answer: str, pointer: str) -> bool:
    """Whether a pointer leads through a list of an answer, and not only through keys that look like places."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    for step in pointer.split("/")[1:]:
        if isinstance(value, list):
            return True
        value = value.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
    return False


def _of(entry: Any, key: str) -> str:
    return json.dumps(entry.get(key) if isinstance(entry, dict) else entry, sort_keys=True)


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _same(answer: str) -> str:
    try:
        return json.dumps(json.loads(answer), sort_keys=True)
    except (ValueError, RecursionError):
        return answer.strip()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
