"""Progress of a batch for people: a live table by tier on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Final, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from orchestrator.cli.display import err, money, note, table
from orchestrator.client import Progress

FIRST_LINE_S: Final = 1.0
LINE_GROWS: Final = 1.3
MOST_LINE_S: Final = 15.0
"""Where there is no terminal, lines come quickly at first, and seldom in a batch that takes hours."""


PACE_S: Final = 20.0
"""The pace is that of so many seconds: one of the whole run would count in every time that the batch only waited."""
SOONEST_S: Final = 2.0
"""Before that there is no pace to speak of."""


class Pace:
    """How quickly rows get done, as seen lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def left(self, done: int, total: int, now: float) -> str:
        """About how long it still takes, or that nothing has moved for a while; nothing where that cannot be said yet.

        `now` is in seconds of any clock that never goes back.
        """
        self._seen.append((now, done))
        while len(self._seen) > 1 and self._seen[1][0] <= now - PACE_S:
            self._seen.popleft()
        began, before = self._seen[0]
        if done >= total or now - began < SOONEST_S:
            return ""
        if done == before:
            return ", waiting" if now - began >= PACE_S else ""
        seconds = (now - began) * (total - done) / (done - before)
        return f", about {seconds:.0f} s left" if seconds < 120 else f", about {seconds / 60:.0f} min left"


class Shown:
    """Shows what a batch has done by tier, what it has cost so far, and about how long it still takes."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = Live(console=err, refresh_per_second=4, transient=True) if err.is_terminal and not quiet else None
        self._pace = Pace()
        self._left = ""
        self._said_at = 0.0
        self._every_s = FIRST_LINE_S
        self._said = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, now: Progress) -> None:
        """Show where a batch stands now."""
        counts = now["request_counts"]
        self._left = self._pace.left(counts["completed"] + counts["failed"], counts["total"], time.monotonic())
        if self._live:
            self._live.update(self._drawn(now))
        elif not self._quiet and (now["status"] != self._said or time.monotonic() - self._said_at > self._every_s):
            if now["status"] == self._said:
                self._every_s = min(MOST_LINE_S, LINE_GROWS * self._every_s)
            self._said_at, self._said = time.monotonic(), now["status"]
            note(self._sentence(now))

    def _sentence(self, now: Progress) -> str:
        counts = now["request_counts"]
        done = counts["completed"] + counts["failed"]
        stands = ", paused" if now["paused"] else self._left
        return f"{now['status']}: {done} of {counts['total']} done, {counts['failed']} failed, {money(now['cost_usd'])} so far{stands}"

    def _drawn(self, now: Progress) -> Group:
        rows = table("", "tier", "", "done", "failed", "cost so far", right=("done", "failed", "cost so far"))
        for tier, row in sorted(now["tiers"].items()):
            planned = row.get("planned") or 1
            done = row["completed"] + row["failed"]
            rows.add_row(
                tier,
                ProgressBar(total=planned, completed=done, width=30),
                f"{done}/{planned}",
                str(row["failed"]),
                money(row["cost_usd"]),
            )
        return Group(Text(self._sentence(now), style="bold"), rows)
