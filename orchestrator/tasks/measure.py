"""How much of a model's room a text takes, where its tokenizer is not at hand: its size, in characters of plain text. Pure.

A stand-in, on the safe side: tokenizers of today make a token of some four characters of English, of two to three of Greek, Cyrillic or Arabic,
and of about one of Chinese, Japanese or Korean (Petrov et al., "Language model tokenizers introduce unfairness between languages", 2023,
arXiv 2305.15425, table 1, has what other languages take beside English).
"""

from __future__ import annotations

import re
from typing import Final

SURE: Final = 3
"""Characters of plain text that are taken for a token: fewer than usual, so that what was measured fits."""
OTHER: Final = 2
"""Such characters that one beyond ASCII takes."""
WIDE: Final = 4
"""The same of a sign that is a word or a syllable, or a picture."""
_PLAIN: Final = re.compile(r"[\x00-\x7f]+")
_WIDE: Final = re.compile("[\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00010000-\U0010ffff]+")


def size_of(text: str) -> int:
    """The size of a text."""
    if text.isascii():
        return len(text)
    beyond = _PLAIN.sub("", text)
    wide = len(beyond) - len(_WIDE.sub("", beyond))
    return len(text) - len(beyond) + OTHER * (len(beyond) - wide) + WIDE * wide


def fitting(text: str, most: int) -> int:
    """How many characters from the beginning of a text are of at most a size; one at least."""
    count = min(len(text), most)
    while count > 1 and (size := size_of(text[:count])) > most:
        count = max(1, count * most // size)
    return count
