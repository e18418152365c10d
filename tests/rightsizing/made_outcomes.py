"""Made-up outcomes of models whose strengths depend on what a prompt is about, for tests of the router."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.rightsizing.router.outcomes import Outcomes

SUBJECTS = {
    "card": "card delivery arrived post parcel",
    "refund": "refund money back charge twice",
    "proof": "prove theorem lemma integral bound",
    "poem": "poem verse rhyme metre stanza",
}
CHANCES = {
    "small": {"card": 0.95, "refund": 0.9, "proof": 0.2, "poem": 0.4},
    "large": {"card": 0.95, "refund": 0.93, "proof": 0.9, "poem": 0.6},
    "poet": {"card": 0.5, "refund": 0.5, "proof": 0.3, "poem": 0.95},
}
COSTS = {"small": 0.001, "large": 0.05, "poet": 0.01}
OTHERS = ["please", "my", "the", "is", "was", "not", "yet", "today", "again", "some"]


def made(n: int, models: Sequence[str] = ("small", "large"), seed: int = 0, *, partial: bool = False) -> Outcomes:
    """Outcomes of `n` different prompts, drawn by the chances above."""
    draw = np.random.default_rng(seed)
    prompts, values = [], []
    for number in range(n):
        subject = list(SUBJECTS)[draw.integers(len(SUBJECTS))]
        words = [*draw.choice(SUBJECTS[subject].split(), 2, replace=False), *draw.choice(OTHERS, 4)]
        draw.shuffle(words)
        prompts.append(f"{' '.join(words)} {seed}x{number}?")
        came = [draw.random() < CHANCES[model][subject] for model in models]
        values.append([0.8 * one + 0.1 for one in came] if partial else came)
    return Outcomes(prompts, tuple(models), np.array(values, np.float32))


def write(path: Path, outcomes: Outcomes) -> Path:
    """The outcomes as a CSV file; a value that is not known is an empty field."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", *outcomes.models])
        for prompt, values in zip(outcomes.prompts, outcomes.values, strict=True):
            rows.writerow([prompt, *("" if np.isnan(one) else f"{one:g}" for one in values)])
    return path
