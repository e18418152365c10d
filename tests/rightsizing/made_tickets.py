"""Made-up tickets to train specialists on."""

from __future__ import annotations

import random

SUBJECTS = {"card": "card delivery arrived post", "refund": "refund money back charge", "login": "password login reset"}


def rows(n: int = 120, seed: int = 0) -> tuple[list[str], list[str]]:
    """Made-up tickets: words of their subject among words of none."""
    draw = random.Random(seed)
    texts, labels = [], []
    for at in range(n):
        label = list(SUBJECTS)[at % 3]
        words = [
            *draw.sample(SUBJECTS[label].split(), 2),
            *draw.choices(["please", "my", "the", "help", "is", "was", "not", "yet"], k=4),
        ]
        draw.shuffle(words)
        texts.append(f"{' '.join(words)} {at}")
        labels.append(label)
    return texts, labels
