"""The shape of a prompt in numbers: how long it is, how it is built, and what kinds of characters it has. No word of it matters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CHOICE: Final = re.compile(r"^[ \t]*(?:[A-Za-z]|\d{1,2})[.)][ \t]+(.*)$", re.MULTILINE)
"""A line that offers an answer, such as `B. 4`."""
_FIGURE: Final = re.compile(r"[-+$€£.,/%^()\d\s]*\d[-+$€£.,/%^()\d\s]*")
_SIGNS: Final = re.compile(r"[=+*/^<>∑∫√≤≥]")
_NEGATED: Final = re.compile(r"\b(?:not|except|false|incorrect|least|never|no)\b", re.IGNORECASE)
_OF_THESE: Final = re.compile(r"\b(?:none|all|both|neither) of\b", re.IGNORECASE)
NAMES: Final = (
    "chars", "words", "lines", "word_length", "distinct_words", "digits", "capitals", "signs_of_punctuation", "not_ascii",
    "question_marks", "gaps", "signs_of_mathematics", "money", "code", "negated", "of_these", "question_chars", "asks", "stops",
    "leads_in", "choices", "choice_length", "choice_spread", "choices_of_figures", "longest_choice",
)  # fmt: skip
"""What the numbers are, in their order."""


MOST_CHARS: Final = 20_000
"""Of a text: what comes after them is not read, so that no text takes long."""
_SENTENCE: Final = re.compile(r"(?<=[.?!])\s+")


@dataclass(frozen=True, slots=True)
class Parts:
    """A prompt taken apart."""

    asked: str
    """What stands before the answers that are offered: all of it where none are."""
    last: str
    """The last sentence of that: mostly the question itself."""
    offered: tuple[str, ...]
    """The answers to choose among."""


def parts_of(text: str) -> Parts:
    """A prompt's parts, of what is read of it."""
    read = text[:MOST_CHARS]
    found = list(_CHOICE.finditer(read))
    asked = (read[: found[0].start()] if found else read).strip()
    return Parts(asked, _SENTENCE.split(asked)[-1], tuple(one[1].strip() for one in found))


def shapes(texts: Sequence[str]) -> NDArray[np.float64]:
    """The numbers of each text: [texts, NAMES]. A text's do not depend on its neighbours."""
    return np.array([_shape(text) for text in texts], np.float64).reshape(len(texts), len(NAMES))


def _shape(whole: str) -> list[float]:
    parts, text = parts_of(whole), whole[:MOST_CHARS]
    words, asked = text.split(), parts.asked
    size = max(1, len(text))
    return [
        log1p(len(whole)),
        log1p(len(words)),
        log1p(text.count("\n")),
        sum(map(len, words)) / max(1, len(words)),
        len({word.lower() for word in words}) / max(1, len(words)),
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isupper, text)) / size,
        sum(not (sign.isalnum() or sign.isspace()) for sign in text) / size,
        sum(sign > "\x7f" for sign in text) / size,
        log1p(text.count("?")),
        float("__" in text),
        log1p(len(_SIGNS.findall(text))),
        float("$" in text),
        float("```" in text or "def " in text or "{" in text),
        log1p(len(_NEGATED.findall(asked))),
        float(_OF_THESE.search(text) is not None),
        log1p(len(asked)),
        float(asked.endswith("?")),
        float(asked.endswith(".")),
        float(asked.endswith(":")),
        *_choices(parts.offered),
    ]


def _choices(offered: Sequence[str]) -> tuple[float, float, float, float, float]:
    """How many answers are offered, how long they are and how evenly, the share that are figures, and which is the longest."""
    if not offered:
        return 0.0, 0.0, 0.0, 0.0, -1.0
    lengths = [len(one) for one in offered]
    mean = sum(lengths) / len(lengths)
    spread = (sum((length - mean) ** 2 for length in lengths) / len(lengths)) ** 0.5
    figures = sum(_FIGURE.fullmatch(one) is not None for one in offered)
    return (
        float(len(offered)), log1p(mean), spread / (mean + 1), figures / len(offered), float(lengths.index(max(lengths))),
    )  # fmt: skip
