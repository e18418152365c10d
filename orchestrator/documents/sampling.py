"""Some documents at random, each as likely as any other, without holding all of them. Vitter's algorithm R (1985)."""

from __future__ import annotations

import random
from collections.abc import Iterable

from orchestrator.documents.inputs import Input


def sampled(inputs: Iterable[Input], count: int, seed: str) -> tuple[list[Input], int]:
    """`count` of the inputs in their order, and how many there are in all; the same again for the same inputs and seed."""
    chance = random.Random(seed)  # noqa: S311 - which documents are tried first is no secret
    kept: list[tuple[int, Input]] = []
    found = 0
    for found, one in enumerate(inputs, 1):
        if len(kept) < count:
            kept.append((found, one))
            continue
        place = chance.randrange(found)
        if place < count:
            kept[place][1].done()
            kept[place] = (found, one)
        else:
            one.done()
    return [one for _, one in sorted(kept, key=lambda pair: pair[0])], found
