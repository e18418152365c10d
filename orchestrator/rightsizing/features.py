"""What a specialist sees of a text: words and word pairs, and runs of 3 to 5 characters within words.

Training and prediction both use these functions, so that the two cannot differ. They give the terms of scikit-learn's
analyzers `word` (1-2) and `char_wb` (3-5) without needing scikit-learn.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

_WORD: Final = re.compile(r"\b\w\w+\b")
_RUNS: Final = (3, 4, 5)


def word_terms(text: str) -> list[str]:
    """The words of two or more letters or digits, in lower case, and every two that stand together."""
    words = _WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def char_terms(text: str) -> list[str]:
    """Runs of 3 to 5 characters within words, with a blank at both ends of each word."""
    terms: list[str] = []
    for word in text.lower().split():
        padded = f" {word} "
        length = len(padded)
        for run in _RUNS:
            if length <= run:
                terms.append(padded)
                break
            terms += [padded[start : start + run] for start in range(length - run + 1)]
    return terms
