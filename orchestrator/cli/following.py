"""Following a batch to its end: progress, why it stands still, what Ctrl-C leaves behind, and what failed in it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final

from orchestrator.cli.again import again
from orchestrator.cli.display import note, out, paused_words
from orchestrator.cli.ending import if_interrupted
from orchestrator.cli.progress import Shown
from orchestrator.client import Progress, Rightsize
from orchestrator.errors import RightsizeError

STILL_S: Final = 10.0
"""How long nothing may move before the service is asked what is wrong."""
REASONS_SHOWN: Final = 3
UNREADABLE: Final = "unreadable"
"""The rule in the error file of a row that never became a job."""
WHY_NOT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("tier_unavailable", "model_not_found"), "could not be routed"),
    **dict.fromkeys(("invalid_request", "budget_exhausted", "request_too_large"), "were refused"),
}
"""What happened to such rows by code; rows with any other code could not be read."""
TICK_S: Final = 0.5
"""So often a person is shown that time passes."""
LINES_READ: Final = 10_000
"""Of the error file, for the reasons: enough to tell what went wrong, also with a million rows."""


def follow(
    client: Rightsize, batch: dict[str, Any], *, quiet: bool = False, lasts: bool = True,
    on_look: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Follow a batch to its end with progress by tier, cost so far and time left; `on_look` sees each change.

    Ctrl-C says what becomes of the batch; `lasts` tells whether the service goes on without us.
    """
    if_interrupted(_left_behind(batch["id"], lasts=lasts))
    note(f"Following {batch['id']}")
    standing, heard = _Standing(client), _Heard(client, batch["id"])
    with Shown(quiet=quiet) as shown:
        while (new := heard.next()) is not None:
            now, is_new = new
            shown.show(now)
            standing.look(now)
            if on_look is not None and is_new:
                on_look(now)
    ended = client.wait(batch["id"])
    if_interrupted(f"Interrupted. The batch had ended. Read it: {again('results ' + batch['id'])}")
    return ended


class _Heard:
    """A batch's progress, read on a thread of its own, so that time goes on where nothing is heard."""

    def __init__(self, client: Rightsize, batch_id: str) -> None:
        self._queue: SimpleQueue[Progress | Exception | None] = SimpleQueue()
        self._last: Progress | None = None
        # A daemon: who presses Ctrl-C does not wait for the service's next word.
        threading.Thread(target=self._read, args=(client, batch_id), daemon=True).start()

    def next(self) -> tuple[Progress, bool] | None:
        """Where the batch stands and whether that is new, at least once a tick; None at its end. Raises what the reader met."""
        while True:
            try:
                found = self._queue.get(timeout=TICK_S)
            except Empty:
                if self._last is None:
                    continue
                return self._last, False
            if isinstance(found, Exception):
                raise found
            if found is None:
                return None
            self._last = found
            return found, True

    def _read(self, client: Rightsize, batch_id: str) -> None:
        try:
            for progress in client.progress(batch_id):
                self._queue.put(progress)
            self._queue.put(None)
        except Exception as error:  # told by the thread that shows it
            self._queue.put(error)


def _left_behind(batch_id: str, *, lasts: bool) -> str:
    becomes = (
        "The batch goes on without this command."
        if lasts
        else "The instance ends with this command, unless others use it: the batch stays where it is, and goes on as soon as one runs."
    )
    status, results, cancel = (again(f"{name} {batch_id}") for name in ("status", "results", "cancel"))
    return f"Interrupted. {becomes} Follow it: {status}   read it: {results}   stop it: {cancel}"


class _Standing:
    """Whether a batch moves; asks the service for the reason where it does not, and says each reason once."""

    def __init__(self, client: Rightsize) -> None:
        self._client = client
        self._mark: tuple[Any, ...] = ()
        self._since = time.monotonic()
        self._said: set[str] = set()

    def look(self, now: Progress) -> None:
        """See how far the batch is now."""
        counts, paused = now["request_counts"], now["paused"]
        mark = (now["status"], counts["total"], counts["completed"], counts["failed"])
        if paused is not None:
            self._say(paused_words(now["batch_id"], paused))
        if mark != self._mark:
            self._mark, self._since = mark, time.monotonic()
        elif time.monotonic() - self._since > STILL_S:
            self._since = time.monotonic()
            self._ask()

    def _ask(self) -> None:
        try:
            checks = self._client.ready().get("checks", {})
        except RightsizeError as error:
            checks = {"api": error.message}
        for name, found in checks.items():
            if found != "ok":
                self._say(f"Nothing moves. {name}: {found}")

    def _say(self, words: str) -> None:
        if words not in self._said:
            self._said.add(words)
            note(words)


def show_failures(client: Rightsize, batch: Mapping[str, Any]) -> None:
    """Why rows of an ended batch failed: the commonest reasons with their counts, and the command that shows all."""
    if not batch.get("error_file_id"):
        return
    try:
        lines = list(islice(client.lines(batch["error_file_id"]), LINES_READ))
    except RightsizeError as error:
        note(f"Why rows failed cannot be read now: {error.message}")
        return
    reasons = _reasons(lines)
    out.print(f"\nWhy rows failed{'' if len(lines) < LINES_READ else f' (of the first {LINES_READ:,})'}:")
    for count, reason in reasons[:REASONS_SHOWN]:
        out.print(f"  {count:,} x {reason}", markup=False, soft_wrap=True)
    if len(reasons) > REASONS_SHOWN:
        more = len(reasons) - REASONS_SHOWN
        out.print(f"  and {more:,} other reason{'s' if more > 1 else ''}, in the error lines")
    for what, count in _never_run(lines):
        out.print(f"  {count:,} of these rows {what}: they count to the default tier, and reached no model")
    note("All of them: " + again(f"results {batch['id']}"))


def _reasons(lines: Iterable[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """How often each code is given, the commonest first, with the row that has it first as the example."""
    counts, told = Counter[str](), dict[str, tuple[str, str]]()
    for line in lines:
        error = line.get("error") or {}
        code = str(error.get("code", "unknown"))
        counts[code] += 1
        told.setdefault(code, (str(line["custom_id"]), str(error.get("message", "It is not said why."))))
    return [(count, _reason(code, count, *told[code])) for code, count in counts.most_common()]


def _reason(code: str, count: int, custom_id: str, message: str) -> str:
    example = f"e.g. {custom_id}" if count > 1 else custom_id
    return f"{code}, {example}: {message}"


def _never_run(lines: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """What happened to the rows that never became jobs, and to how many."""
    codes = (str((x.get("error") or {}).get("code")) for x in lines if x["rightsize"]["rule"] == UNREADABLE)
    return Counter(WHY_NOT.get(code, "could not be read") for code in codes).most_common()
