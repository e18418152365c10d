"""Which rows a specialist is fitted on, and which are kept aside to certify it. Pure, and the same for the same seed.

Rows of the same text are one group and stand on one side. The rows kept aside are a simple random sample of the groups, whatever
their labels: what is found on them holds for texts drawn as these were. Nothing is reserved or balanced there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.learned.terms import normalised

CERTIFY_SHARE: Final = 0.2
MOST_CERTIFY_ROWS: Final = 2_000
MOST_FITTED: Final = 40_000
"""Texts that a fit takes, at most; with many labels fewer."""
LEAST_GROUPS: Final = 50
"""Below so many distinct texts none are kept aside unless they are asked for: a certificate needs hundreds."""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows that have one text."""

    rows: tuple[int, ...]
    """Row numbers, from 0, in the order in which they came."""
    label: str | None
    """The label that more than half of them have; None where there is none, and no answer would be right."""
    contradictory: bool
    """Whether they have several labels."""


@dataclass(frozen=True, slots=True)
class Split:
    """Groups by what they are for. Those that contradict themselves may be certified on, as they come in traffic too."""

    fit: tuple[Group, ...]
    certify: tuple[Group, ...]
    left_out: int
    """Groups of neither side: more than a fit takes, or without a label to learn."""


def groups_of(texts: Sequence[str], labels: Sequence[str]) -> list[Group]:
    """The rows by their normalised text, in the order in which the texts first came."""
    rows: dict[str, list[int]] = {}
    for at, text in enumerate(texts):
        rows.setdefault(normalised(text), []).append(at)
    return [_group(found, labels) for found in rows.values()]


def split(groups: Sequence[Group], certify_rows: int | None, most_fitted: int, seed: int) -> Split:
    """Draw the groups to certify on (a fifth, at most 2,000, where no number is given) and those to fit on."""
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - a repeatable split, nothing secret
    count = _certify_count(len(groups)) if certify_rows is None else min(certify_rows, len(groups))
    certify, rest = shuffled[:count], shuffled[count:]
    learnable = [group for group in rest if group.label is not None]
    fit = learnable[:most_fitted]
    return Split(
        fit=tuple(sorted(fit, key=lambda group: group.rows)),
        certify=tuple(sorted(certify, key=lambda group: group.rows)),
        left_out=len(rest) - len(fit),
    )


def truth_of(group: Group, seed: int) -> int:
    """The row whose label is the right answer of a group: one of its rows by lot, so that contradictions count as they come."""
    if not group.contradictory:
        return group.rows[0]
    return random.Random(f"{seed}:{group.rows[0]}").choice(group.rows)  # noqa: S311 - repeatable, nothing secret


def folds_of(kinds: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """A fold number for each row, from 0: the rows of each kind are dealt out evenly, so that each fold has its share of them."""
    by_kind: dict[Hashable, list[int]] = {}
    for at, kind in enumerate(kinds):
        by_kind.setdefault(kind, []).append(at)
    folds = [0] * len(kinds)
    deal = random.Random(seed)  # noqa: S311 - a repeatable split, nothing secret
    turn = 0
    for rows in by_kind.values():
        deal.shuffle(rows)
        for at in rows:
            folds[at] = turn % count
            turn += 1
    return folds


def _certify_count(groups: int) -> int:
    return 0 if groups < LEAST_GROUPS else min(MOST_CERTIFY_ROWS, round(CERTIFY_SHARE * groups))


def _group(rows: Sequence[int], labels: Sequence[str]) -> Group:
    counts = Counter(labels[at] for at in rows)
    label, most = counts.most_common(1)[0]
    return Group(tuple(rows), label if 2 * most > len(rows) else None, len(counts) > 1)
