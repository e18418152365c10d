"""Whether an engine's key-value cache has room for one request more, by what all inside will hold at their fullest moment. Pure.

A request grows while its answer is written, and what was let in cannot be taken back: by the time that an engine reports a full
cache it is too late. So each request is let in by its own length, as Gong et al. do inside an engine ("Past-Future Scheduler
for LLM Serving under SLA Guarantees", ASPLOS 2025): how much of what they may write requests do write is taken from those that
ended lately, and the peak of all of them together, each ending in its turn, must fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.contracts import Usage

FILL: Final = 0.98
"""Of the cache that is counted on. All of it was a preemption for every hundred requests; this was none, for one in a hundred of the rate."""
COUNTED: Final = 8
"""Prompts of which the tokens are counted before any request has ended: a worker that starts on a full queue has nothing else to go by."""
UNSURE: Final = 0.05
"""Expectations are no better than this: a report that is heavier by less says nothing."""
SMOOTHING: Final = 0.05
"""Weight of the newest request in what is learnt."""
OVERTIME: Final = 0.2
"""A request that has written more than was expected of it is expected to go on for this share of that."""
MOST_SHARE: Final = 8.0
HEAVIER_BY_LOOK: Final = 0.3
"""Weight of the newest report in how much heavier those inside are than was expected."""
MOST_HEAVIER: Final = 4.0
CHARS_A_TOKEN: Final = 4.0
"""Before anything is learnt: the usual rule of thumb for English."""
RULE_CHARS: Final = 100.0
"""Characters of text that must be counted until they weigh as much as the rule of thumb."""
ALIKE_CHARS: Final = 100.0
"""Prompts whose lengths are spread no wider than this tell little of what a character more would add."""


@dataclass(eq=False, slots=True)
class Ask:
    """What one request is expected to take, in tokens of the cache."""

    chars: int
    """Of its prompt."""
    most: int
    """Tokens that it may write."""
    prompt: float
    answer: float
    since: float = 0.0
    """When it was let in, on the monotonic clock."""

    @property
    def whole(self) -> float:
        """At the end of its answer."""
        return self.prompt + self.answer


class Prompts:
    """How many tokens prompts have by their characters: a least-squares line through those that were read lately.

    A line and no ratio: a template, tools and pictures add tokens that no character of the text stands for, and a beginning that
    the engine has in its cache takes some away. Where all are about as long, the slope is that of the texts that were counted.
    """

    def __init__(self) -> None:
        self._counted = 0
        self._chars, self._tokens = RULE_CHARS, RULE_CHARS / CHARS_A_TOKEN
        self._read = 0
        self._mean_chars = self._mean_tokens = 0.0
        self._variance = self._covariance = 0.0

    @property
    def unsure(self) -> bool:
        """Whether nothing was read yet, and few were counted."""
        return not self._read and self._counted < COUNTED

    def count(self, chars: int, tokens: int) -> None:
        """Take in the tokens of a text alone."""
        self._counted += 1
        self._chars += chars
        self._tokens += tokens

    def learn(self, chars: int, tokens: int) -> None:
        """Take in what the engine read for a prompt with so many characters of text."""
        self._read += 1
        weight = max(SMOOTHING, 1 / self._read)
        more_chars, more_tokens = chars - self._mean_chars, tokens - self._mean_tokens
        self._mean_chars += weight * more_chars
        self._mean_tokens += weight * more_tokens
        self._variance = (1 - weight) * (self._variance + weight * more_chars**2)
        self._covariance = (1 - weight) * (self._covariance + weight * more_chars * more_tokens)

    def expected(self, chars: int) -> float:
        """Tokens of a prompt with so many characters of text."""
        plain = self._tokens / self._chars
        if not self._read:
            return chars * plain
        slope = (self._covariance + ALIKE_CHARS**2 * plain) / (self._variance + ALIKE_CHARS**2)
        return max(1.0, self._mean_tokens + slope * (chars - self._mean_chars))


class Room:
    """Who is inside one engine's cache, and what those that ended have taught."""

    def __init__(self, capacity: int, block: int = 1) -> None:
        """`capacity` and `block` in tokens: a request takes whole blocks."""
        self.capacity, self._capacity, self._block = capacity, FILL * capacity, block
        self._inside: set[Ask] = set()
        self._sum = 0.0
        self._prompts = Prompts()
        self._share = 1.0
        """Of what they may write, what requests do write."""
        self._pace = 0.0
        """Tokens a second that one request writes, its prompt included in the time."""
        self._heavier = 1.0
        """How much more those inside take than was expected of them, by the engine's report; never less than 1."""

    def ask(self, chars: int, most: int) -> Ask:
        """What a request with a prompt of so many characters that may write `most` tokens is expected to take."""
        most = max(1, most)
        return Ask(chars, most, self._prompts.expected(chars), most * self._share)

    def fits(self, asked: Ask, now: float) -> bool:
        """Whether the cache holds this request as well. One that is alone always fits: the engine must have something to do."""
        # By what is known now: it may have waited long.
        asked.prompt, asked.answer = self._prompts.expected(asked.chars), asked.most * self._share
        if not self._inside:
            return True
        if self._heavier * (self._sum + asked.whole + self._block * (len(self._inside) + 1)) <= self._capacity:
            return True
        points = [self._point(one, now) for one in self._inside]
        points.append((asked.prompt + self._block / 2, asked.answer))
        return self._heavier * peak(points) <= self._capacity

    def compare(self, taken: float, now: float, *, overfull: bool = False) -> None:
        """Hold what the engine reports as taken, in tokens, against what those inside were expected to take by now.

        Only what is heavier counts: what was let in just now takes nothing yet. An engine that is `overfull` reports what it
        holds, and not what those inside would take: that is no reason to expect less of them.
        """
        expected = sum(self._point(one, now)[0] for one in self._inside)
        found = min(MOST_HEAVIER, max(1.0, taken / expected - UNSURE)) if expected else 1.0
        if overfull:
            found = max(found, self._heavier)
        self._heavier += HEAVIER_BY_LOOK * (found - self._heavier)

    def enter(self, asked: Ask, now: float) -> None:
        """Count a request in."""
        asked.since = now
        self._inside.add(asked)
        self._sum += asked.whole

    def leave(self, asked: Ask) -> None:
        """Count it out."""
        self._inside.discard(asked)
        self._sum = self._sum - asked.whole if self._inside else 0.0

    @property
    def unsure(self) -> bool:
        """Whether it goes by a rule of thumb still, and a prompt that is counted is worth it."""
        return self._prompts.unsure

    def count(self, chars: int, tokens: int) -> None:
        """Take in how many tokens a text of so many characters has."""
        self._prompts.count(chars, tokens)

    def learn(self, asked: Ask, usage: Usage, seconds: float) -> None:
        """Take in what a request that was answered has used: its prompt but for what the cache had of it, its answer, its pace."""
        read = usage.input_tokens - usage.cached_tokens
        self._prompts.learn(asked.chars, read)
        self._share += SMOOTHING * (min(MOST_SHARE, usage.output_tokens / asked.most) - self._share)
        pace = usage.output_tokens / max(seconds, 1e-3)
        self._pace = pace if not self._pace else self._pace + SMOOTHING * (pace - self._pace)

    def _point(self, one: Ask, now: float) -> tuple[float, float]:
        """What a request holds by now, and what it will still write."""
        written = min(float(one.most), (now - one.since) * self._pace)
        left = max(one.answer - written, min(OVERTIME * written, one.most - written))
        return one.prompt + written + self._block / 2, left


def peak(points: Iterable[tuple[float, float]]) -> float:
    """The most tokens that requests hold together from now on, if all write at one pace and each goes once it has written its rest.

    Points are (tokens held, tokens left). Just before one ends, those with more left have grown as much as it has.
    """
    most = held = 0.0
    for count, (now, left) in enumerate(sorted(points, key=_left, reverse=True), 1):
        held += now
        most = max(most, held + count * left)
    return most


def _left(point: tuple[float, float]) -> float:
    return point[1]
