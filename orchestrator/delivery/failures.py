"""What failed in a batch, by cause: how many documents, which for example, and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from orchestrator.delivery.answers import Failure, Line, Result, result_of
from orchestrator.delivery.plain import ELLIPSIS, counted, one_line, share
from orchestrator.delivery.remedies import remedy_of, without_remedy

MOST_CAUSES: Final = 300
"""Told apart by their messages; what comes beyond is told apart by its code."""
MOST_MESSAGE: Final = 600
MOST_CODE: Final = 60
MOST_NAME: Final = 80
EXAMPLES: Final = 3
OTHER: Final = "(other messages)"
_VARIES: Final = re.compile(
    r"""
      "[^"]*" | (?<!\w)'[^']*'(?!\w) | `[^`]*` | “[^”]*” | ‘[^’]*’            # quoted
    | \b[a-z]+_[0-9a-f]{8,}\b                                    # an id of ours
    | \b(?=[0-9a-f-]*[0-9])[0-9a-f][0-9a-f-]{7,}\b               # a digest or UUID
    | [-+]?\d+(?:[.,:]\d+)*                                      # a number, a time
    """,
    re.VERBOSE,
)
_INDEX: Final = re.compile(r"/\d+(?=/|$)")


@dataclass(frozen=True, slots=True)
class Cause:
    """Documents that failed in the same way."""

    code: str
    message: str
    """What went wrong; `…` stands for what is not the same in all of them."""
    count: int
    share: float
    """Of all that failed, 0 to 1."""
    examples: tuple[str, ...]
    """Names of the first documents."""
    remedy: str


@dataclass(slots=True)
class _Group:
    parts: list[str]
    """The first message: text that is the same, and what varies, in turn."""
    remedy: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Failures:
    """Counts what failed by cause, one result after the other, in bounded memory."""

    def __init__(self) -> None:
        self.documents = 0
        """All that were seen, failed or not."""
        self.failed = 0
        self._groups: dict[tuple[str, str], _Group] = {}

    def add(self, result: Result) -> None:
        """Take the next result, of a document that failed or not."""
        self.documents += 1
        failure = result.failure
        if failure is None:
            return
        self.failed += 1
        group = self._group(one_line(failure.code, MOST_CODE), one_line(_told(failure), MOST_MESSAGE))
        group.count += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append(one_line(result.document.name, MOST_NAME))

    def causes(self) -> list[Cause]:
        """The causes, the most frequent first."""
        ordered = sorted(self._groups.items(), key=lambda one: (-one[1].count, one[0]))
        return [
            Cause(
                code,
                without_remedy("".join(group.parts)),
                group.count,
                group.count / self.failed,
                tuple(group.examples),
                group.remedy,
            )
            for (code, _), group in ordered
        ]

    def _group(self, code: str, message: str) -> _Group:
        parts = _parts(message)
        key = (code, ELLIPSIS.join(parts[::2]))
        if key not in self._groups and len(self._groups) >= MOST_CAUSES:
            message, parts, key = "", [OTHER], self._rest(code)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(parts, remedy_of(code, message))
        for place in range(1, min(len(parts), len(group.parts)), 2):
            if parts[place] != group.parts[place]:
                group.parts[place] = ELLIPSIS
        return group

    def _rest(self, code: str) -> tuple[str, str]:
        """Where what is one cause too many is counted: with its code, and where there are too many codes, with all others."""
        own = (code, OTHER)
        return own if own in self._groups or len(self._groups) < 2 * MOST_CAUSES else (OTHER, OTHER)


def failures_of(lines: Iterable[Line]) -> Failures:
    """What failed among result lines."""
    failures = Failures()
    for line in lines:
        failures.add(result_of(line))
    return failures


def failure_lines(failures: Failures) -> list[str]:
    """The causes as lines of plain text, for a terminal."""
    if not failures.failed:
        return [f"None of {counted(failures.documents, 'document')} failed."]
    head = f"{failures.failed:,} of {counted(failures.documents, 'document')} failed ({share(failures.failed, failures.documents)})"
    made = [head]
    for cause in failures.causes():
        more = cause.count - len(cause.examples)
        names = ", ".join(cause.examples) + (f" and {more:,} more" if more else "")
        told = [f"{cause.count:>7,}  {share(cause.count, failures.failed):>6}  {cause.code}: {cause.message}"]
        told += [f"{'':17}in:  {names}", f"{'':17}fix: {cause.remedy}"]
        made += ["", *told]
    return made


def _told(failure: Failure) -> str:
    """What is grouped: of an answer of the wrong form the first place that is wrong, since the message may tell of all."""
    if not failure.violations:
        return failure.message
    first = failure.violations[0]
    place = _INDEX.sub("/*", first.pointer)
    return f"{failure.message.partition(': ')[0].rstrip('.')}: {place or 'the answer'}: {first.message}"


def _parts(message: str) -> list[str]:
    """A message as what is the same in others like it, and what may vary, in turn; it begins and ends with what is the same."""
    parts: list[str] = []
    end = 0
    for found in _VARIES.finditer(message):
        parts += [message[end : found.start()], found[0]]
        end = found.end()
    return [*parts, message[end:]]
