"""Which fields of an answer would pass by themselves, where the answer as a whole does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.rightsizing.guarantees.bounds import binomial_p, holm


@dataclass(frozen=True, slots=True)
class FieldFound:
    """One field, over all rows, whatever their score."""

    field: str
    right: int
    n: int
    p: float
    """Of "it is right less often than the target", as it counts when all fields are looked at (Holm)."""
    passes: bool

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def by_field(rows: Sequence[Mapping[str, bool]], target: float, delta: float) -> list[FieldFound]:
    """Each field that every row has, the best first: the fields share `delta`, so that with 1 - delta none passes that should not."""
    names = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    right = [sum(row[name] for row in rows) for name in names]
    adjusted = holm([binomial_p(count, len(rows), target) for count in right])
    found = [
        FieldFound(name, count, len(rows), p, p <= delta) for name, count, p in zip(names, right, adjusted, strict=True)
    ]
    return sorted(found, key=lambda one: (-one.right, one.field))


def sentence(found: Sequence[FieldFound]) -> str:
    """What it comes to, for people; empty for an answer without fields."""
    parts = [
        f"{one.field} {'would' if one.passes else 'would not'} ({one.right:,} of {one.n:,} right)" for one in found
    ]
    return f" By themselves, of its fields: {', '.join(parts)}." if parts else ""
