"""How much of a text was read: words as a multiset, without Markdown's marks and punctuation. Pure."""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import Final

_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK: Final = re.compile(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
"""A link or a picture in Markdown: its text is read, and its address is not."""
_ESCAPED: Final = re.compile(r"\\([\\`*_{}\[\]()#+.!|<>~-])")
_WORD: Final = re.compile(r"[^\W_]+")


def words(text: str) -> Counter[str]:
    """The words of a Markdown text in small letters, each with how often it stands there."""
    plain = _ESCAPED.sub(r"\1", _LINK.sub(r"\1", _LINK.sub(r"\1", _COMMENT.sub(" ", text))))
    return Counter(_WORD.findall(html.unescape(plain).lower()))


def word_f1(found: str, expected: str) -> float:
    """The harmonic mean of how much of what was found is expected, and how much of what is expected was found: 0 to 1."""
    one, other = words(found), words(expected)
    if not one and not other:
        return 1.0
    common = (one & other).total()
    return 2 * common / (one.total() + other.total())


def found_words(found: str, transcript: str) -> tuple[int, int]:
    """How many words of a transcript were found, and how many it has."""
    wanted = words(transcript)
    return (words(found) & wanted).total(), wanted.total()


def recall(found: str, transcript: str) -> float:
    """The share of a transcript's words that were found; 1 where it has none."""
    there, wanted = found_words(found, transcript)
    return there / wanted if wanted else 1.0
