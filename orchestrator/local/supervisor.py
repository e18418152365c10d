"""The one detached supervisor of a data directory: `python -m orchestrator.local.supervisor DATA_DIR --lock-fd N`.

It reads its plan from standard input, starts the parts stage by stage, starts a dead one again, publishes the state,
and ends everything once its last user is gone. One thread: the kernel takes the end of a forking thread for the
parent's death.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from orchestrator.errors import InvalidConfig, RightsizeError, ServiceUnavailable
from orchestrator.local import locks, logs, processes, state
from orchestrator.local.assembly import Assembly
from orchestrator.local.folders import not_usable
from orchestrator.local.parts import SERVERS
from orchestrator.local.plan import Plan
from orchestrator.local.running import FAILED, LOOK_S, LOOK_SOON_S, Running
from orchestrator.local.state import State

LOGS_EVERY_S: Final = 60.0


class Supervisor:
    """The loop over the parts."""

    def __init__(self, data_dir: Path, plan: Plan) -> None:
        self.data_dir = data_dir
        self.plan = plan
        self.users = locks.open_lock(data_dir / locks.USERS)
        self.runners = locks.open_lock(data_dir / locks.RUNNERS)
        self.former = state.read(data_dir)
        self.assembly: Assembly | None = None
        self.status = state.STARTING
        self.error: RightsizeError | None = None
        self.told_to_stop = False
        self._published: State | None = None
        self._unwritten = ""
        self._ticks = processes.start_ticks(os.getpid()) or 0
        self._woken, self._waker = socket.socketpair()
        self._logs_due = 0.0
        self._moved = False

    def run(self) -> None:
        """Start, watch, stop."""
        self._listen_to_signals()
        try:
            self._end_orphans()
            self.assembly = Assembly(self.data_dir, self.plan, self.former)
            self._publish()
            self.assembly.create_servers()
            while not self._must_end():
                self.assembly.advance()
                self._watch()
                self._publish()
                self._wait()
        except RightsizeError as error:
            self.error = error
        except OSError as error:
            self.error = not_usable(self.data_dir, error)
        self._stop()

    def _watch(self) -> None:
        """Look at every part; raises InvalidConfig or ServiceUnavailable for one that cannot be started."""
        assembly = self._assembled()
        now = time.monotonic()
        self._moved = False
        if not assembly.has_runners and locks.is_held(self.runners):
            assembly.has_runners = self._moved = True
            self.status = state.STARTING
        for running in assembly.all:
            before = running.state
            running.tick(now)
            if running.state != before:
                self._moved = True
                log(f"{running.part.name}: {before} -> {running.state} {running.reason}".rstrip())
            if running.state == FAILED:
                raise failure(running)
        if self.status == state.STARTING and assembly.is_ready():
            self.status = state.READY
        if now >= self._logs_due:
            self._logs_due = now + LOGS_EVERY_S
            for path in (self.data_dir / "logs").glob("*.log"):
                logs.cut(path)

    def _must_end(self) -> bool:
        """Whether the last user is gone (then its lock is ours), the data directory was removed, or we are told to."""
        if not locks.is_current(self.users, self.data_dir / locks.USERS):
            return True
        return self.told_to_stop or locks.try_exclusive(self.users)

    def _stop(self) -> None:
        """End everything in order: the parts all at once, then the servers that they need."""
        self.status = state.FAILED if self.error else state.STOPPING
        if self.error:
            log(self.error.message)
        self._publish()
        parts = self.assembly.all if self.assembly else []
        for servers in (False, True):
            group = [running for running in parts if (running.part.stage == SERVERS) is servers]
            for running in group:
                running.begin_stop(time.monotonic())
            while not all([running.stop_tick(time.monotonic()) for running in group]):  # noqa: C419  (each is asked)
                self._publish()
                self._wait(LOOK_SOON_S)
        if self.assembly:
            self.assembly.tidy()
        self.status = state.FAILED if self.error else state.STOPPED
        self._publish()
        log("stopped")

    def _end_orphans(self) -> None:
        """End the parts of a killed supervisor where the kernel did not; the servers are waited for at their start."""
        if self.former:
            parts = [part for part in self.former.parts if part.name not in {"postgres", "valkey"}]
            processes.end_all([p.pid for p in parts if processes.is_same(p.pid, p.started_ticks)], within_s=0.5)

    def _publish(self) -> None:
        """Write the state file if anything changed. A full disk does not end the instance: it tries again."""
        code = self.error.code if self.error else ""
        message = self.error.message if self.error else ""
        now = State(
            status=self.status,
            launch=self.plan.launch,
            supervisor=os.getpid(),
            supervisor_ticks=self._ticks,
            given=self.plan.given,
            config=self.plan.config,
            config_digest=self.plan.config_digest,
            stop_within_s=self.plan.stop_within_s,
            error_code=code,
            error=message,
            **(self.assembly.published() if self.assembly else remembered(self.former)),
        )
        if now == self._published or not self.data_dir.is_dir():
            return
        try:
            state.publish(self.data_dir, now)
            self._published = now
        except OSError as error:
            if self._unwritten != str(error):
                self._unwritten = str(error)
                log(f"cannot write the state: {error}")

    def _wait(self, seconds: float | None = None) -> None:
        """Sleep until the next look (at the parts, and whether a user is left), or until a child ends."""
        now = time.monotonic()
        soon = min((running.look_within_s(now) for running in self._assembled().all), default=LOOK_S)
        if self._moved:  # something may follow at once, such as the next stage
            soon = 0.0
        select.select([self._woken], [], [], soon if seconds is None else seconds)
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            return

    def _listen_to_signals(self) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the users
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self.told_to_stop = True

    def _assembled(self) -> Assembly:
        if self.assembly is None:
            raise ServiceUnavailable("The instance has no parts yet.")
        return self.assembly


def failure(running: Running) -> RightsizeError:
    """The error for a part that cannot be started, with the end of its log."""
    if running.is_misconfigured:
        return InvalidConfig(
            f"{running.part.name} cannot start with this configuration. Correct it and start again. "
            f"{logs.quoted(running.log, running.log_start)}"
        )
    return ServiceUnavailable(
        f"{running.part.name} {running.reason or 'failed'} while the instance started. "
        f"Remedy the cause and start again. {logs.quoted(running.log, running.log_start)}"
    )


def remembered(former: State | None) -> dict[str, object]:
    """What outlives a run that did not get far: the port and the API key."""
    if former is None:
        return {}
    return {"port": former.port, "api_key": former.api_key, "key_database": former.key_database}


def log(message: str) -> None:
    """Write one line to the supervisor's log, which is its standard error."""
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} supervisor {message}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Read the plan, leave the user's process tree, and run."""
    parser = argparse.ArgumentParser(prog="orchestrator.local.supervisor", description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument(
        "--lock-fd", type=int, required=True, help="the supervisor's lock, taken by the user that starts it"
    )
    given = parser.parse_args(argv)
    plan = Plan.from_json(sys.stdin.read())
    os.set_inheritable(given.lock_fd, False)
    if not locks.is_current(given.lock_fd, given.data_dir / locks.SUPERVISOR):
        raise InvalidConfig(f"--lock-fd {given.lock_fd} is not the lock of {given.data_dir}; use `rightsize up`.")
    if os.fork():
        os._exit(0)  # the user waits for this one; init adopts the other
    os.umask(0o022)  # modes are given one by one; the parts get 0077
    Supervisor(given.data_dir, plan).run()


if __name__ == "__main__":
    main()
