"""One part as the supervisor runs it: started, watched, started again when it dies, stopped within a bound."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from orchestrator.contracts import WRONG_CONFIG_EXIT
from orchestrator.local import logs, processes
from orchestrator.local.parts import Part
from orchestrator.local.spawn import exit_reason, spawn
from orchestrator.local.state import PartState

WAITING, STARTING, UP, BACKOFF = "waiting", "starting", "ready", "backoff"
DONE, FAILED, STOPPING, STOPPED = "done", "failed", "stopping", "stopped"

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 10.0
LIVED_WELL_S: Final = 30.0
"""A part that was ready for so long before it died begins again with the first delay; its loading does not count."""
STARTS_MAX: Final = 4
"""A part that died so often without having been ready once makes the start of the instance fail."""
SOCKET_EVERY_S: Final = 1.0
LOOK_SOON_S: Final = 0.02
LOOK_S: Final = 0.2
LOADS_LONG_S: Final = 5.0
"""A part that takes longer than this to start is looked at less often."""

Check = Callable[[int], bool]
"""From the part's pid to whether it is ready."""


class Running:
    """A part, its process if it has one, and its history."""

    def __init__(self, part: Part, log: Path, check: Check, before: Callable[[], None] | None = None) -> None:
        self.part = part
        self.log = log
        self.state = WAITING
        self.restarts = 0
        self.reason = ""
        self.output = b""
        self.log_start = 0
        """Where in its log its last start begins."""
        self.env: Mapping[str, str] = {}
        self._argv = part.argv
        self._check = check
        self._before = before
        self._process: subprocess.Popen[bytes] | None = None
        self._code = 0
        self._socket_due = 0.0
        self._ticks = 0
        self._out: IO[bytes] | None = None
        self._started = 0.0
        self._ready_at: float | None = None
        self._due = 0.0
        self._delay = BACKOFF_FIRST_S
        self._was_ready = False
        self._stops = iter(part.stops)
        self._next_stop = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether what depends on this part can go on."""
        return self.state in {UP, DONE}

    @property
    def is_misconfigured(self) -> bool:
        """Whether it failed because its configuration is wrong, so that it need not be tried again."""
        return self.state == FAILED and self._code == WRONG_CONFIG_EXIT

    @property
    def came_up(self) -> bool:
        """Whether it was ready once: one that dies again and again does not keep the others from their users."""
        return self._was_ready or self.state == DONE

    def look_within_s(self, now: float) -> float:
        """How soon something may have changed that does not wake the supervisor."""
        if self.state == STARTING:
            return LOOK_SOON_S if now - self._started < LOADS_LONG_S else LOOK_S
        return max(0.0, self._due - now) if self.state == BACKOFF else LOOK_S

    def published(self) -> PartState:
        """What the state file says of it."""
        pid = self._process.pid if self._process else 0
        return PartState(self.part.name, self.state, pid, self._ticks if pid else 0, self.restarts, str(self.log))

    def start(self, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        """Start it for the first time, with its final arguments and environment. A failing start counts as a death."""
        self._argv, self.env = argv, env
        self._start()

    def skip(self) -> None:
        """Do without running it."""
        self.state = DONE

    def tick(self, now: float) -> None:
        """Notice a death, readiness or a delay that is over, and act on it."""
        if self._process is not None and self._reap():
            # It may have come up and died between two looks.
            self._was_ready = self._was_ready or (self.part.kind == "file" and self._check(0))
            self._ended(now, exit_reason(self._code), ran_through=self._code == 0)
        elif self.state == STARTING:
            self._look(now)
        elif self.state == UP and self.part.socket and now >= self._socket_due:
            self._socket_due = now + SOCKET_EVERY_S
            if not Path(self.part.socket).exists():
                self._signal(signal.Signals(self.part.stops[0][0]))
        elif self.state == BACKOFF and now >= self._due:
            self.restarts += 1
            self._start()

    def begin_stop(self, now: float) -> None:
        """Ask it to end; `stop_tick` insists."""
        self.state = STOPPING if self._process else STOPPED
        self._next_stop = now

    def stop_tick(self, now: float) -> bool:
        """Go on with stopping; True once it is gone, or cannot be ended."""
        if self._process is None or self._reap():
            self.state = STOPPED
            return True
        if now >= self._next_stop:
            step = next(self._stops, None)
            if step is None:
                return True
            number, within_s = step
            self._signal(signal.Signals(number))
            self._next_stop = now + within_s
        return False

    def restart(self) -> None:
        """End the process at once, so that it is started again."""
        self._signal(signal.SIGKILL)

    def _start(self) -> None:
        now = time.monotonic()
        self.state, self._started, self._ready_at, self.reason = STARTING, now, None, ""
        try:
            if self._before:
                self._before()
            self._spawn()
        except OSError as error:
            self._ended(now, f"could not be started: {error}")

    def _spawn(self) -> None:
        with os.fdopen(logs.open_log(self.log), "ab") as log:
            self.log_start = log.seek(0, os.SEEK_END)
            self._out = tempfile.TemporaryFile() if self.part.runs_once else None  # noqa: SIM115
            self._process = spawn(
                self._argv,
                env=self.env,
                cwd=self.part.cwd,
                stdin=subprocess.DEVNULL,
                stdout=self._out or log,
                stderr=log,
                orphan_signal=self.part.orphan_signal,
                account=self.part.account,
            )
        self._ticks = processes.start_ticks(self._process.pid) or 0

    def _look(self, now: float) -> None:
        if not self.part.runs_once and self._check(self._process.pid if self._process else 0):
            self._is_up(now)
        elif now - self._started > self.part.ready_within_s:
            if self.part.kind == "file":  # alive, and still loading perhaps
                self._is_up(now)
            else:
                self.reason = f"was not ready within {self.part.ready_within_s:g} s"
                self.restart()

    def _is_up(self, now: float) -> None:
        self.state, self._was_ready, self._ready_at = UP, True, now

    def _reap(self) -> bool:
        """Collect the process if it ended, and with it whatever it left in its process group."""
        process = self._process
        if process is None or not processes.has_ended(process):
            return False
        processes.send(process.pid, signal.SIGKILL, group=True)
        self._code = process.wait()
        self._process = None
        if self._out is not None:
            with self._out as out:
                out.seek(0)
                self.output = out.read()
            self._out = None
        return True

    def _ended(self, now: float, reason: str, *, ran_through: bool = False) -> None:
        self.reason = f"{self.reason}, {reason}" if self.reason else reason
        if self.part.runs_once:
            self.state = DONE if ran_through else FAILED
            return
        if self._ready_at is not None and now - self._ready_at >= LIVED_WELL_S:
            self._delay = BACKOFF_FIRST_S
        # One that worked before is tried again even then: what it lacks may be memory that its former self still holds.
        if not self._was_ready and (self._code == WRONG_CONFIG_EXIT or self.restarts + 1 >= STARTS_MAX):
            self.state = FAILED
            return
        self.state, self._due = BACKOFF, now + self._delay
        self._delay = min(BACKOFF_MAX_S, 2 * self._delay)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            processes.send(self._process.pid, number, group=number == signal.SIGKILL)
