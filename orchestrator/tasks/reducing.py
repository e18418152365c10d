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


@dataclass(frozen=True, slots=True)
class Reduced:
    """One answer, and the fields of which the pieces said different things."""

    answer: str
    conflicts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """By JSON pointer, what was said; the first of it stands in the answer."""


def reduced(answers: Sequence[str], rule: Reduce, *, has_fields: bool) -> Reduced:
    """The one answer by a rule; of a `tree` nobody but a model can make it, see `tree`.

    Raises ValueError for answers that are not JSON where they should be.
    """
    if len(answers) == 1:
        return Reduced(answers[0])
    if rule == "vote":
        return _voted(answers)
    if not has_fields:
        return Reduced("\n\n".join(one.strip() for one in answers if one.strip()))
    values = [json.loads(one) for one in answers]
    conflicts: dict[str, list[Any]] = {}
    joined = values[0]
    for one in values[1:]:
        joined = _merged(joined, one, "", conflicts, lists=True)
    return Reduced(json.dumps(joined, ensure_ascii=False), conflicts)


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


def _merged(one: Any, other: Any, here: str, conflicts: dict[str, list[Any]], *, lists: bool) -> Any:
    """Two values as one: what only one of them has is taken, lists go one behind the other, and of two that differ the first stands."""
    if _says_nothing(one):
        return other
    if _says_nothing(other) or one == other:
        return one
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: _merged(one.get(key), other.get(key), f"{here}/{escaped(key)}", conflicts, lists=lists)
            for key in {**one, **other}
        }
    if isinstance(one, list) and isinstance(other, list) and lists:
        return [*one, *(entry for entry in other if entry not in one)]
    if len(conflicts) < MOST_CONFLICTS:
        said = conflicts.setdefault(here, [one])
        if other not in said:
            said.append(other)
    return one


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
