"""What a learned model sees of a text: words and word pairs, and runs of 3 to 5 characters within words.

Training and prediction both use these functions, so that the two cannot differ. They give the terms of scikit-learn's
analyzers `word` (1-2) and `char_wb` (3-5) without needing scikit-learn.
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from typing import Final

MAX_TEXT_CHARS: Final = 100_000
"""Of a text that is learned from or asked about."""
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


def normalised(text: str) -> str:
    """A text without what does not make it another one: capitals, and how much blank space stands between its words."""
    return " ".join(text.lower().split())


def text_sha256(text: str) -> bytes:
    """The SHA-256 of the normalised text: texts that have the same are one text, for splits, labels and certificates."""
    return hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).digest()
