"""How a user comes to a ready instance: its lock, the supervisor it starts where none runs, and the waiting."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidConfig, RightsizeError, ServiceUnavailable
from orchestrator.local import folders, locks, logs, state
from orchestrator.local import plan as plans
from orchestrator.local.launch import LOG, launch
from orchestrator.local.parts import Part
from orchestrator.local.state import PartState, State

if TYPE_CHECKING:
    from orchestrator.settings import Settings

POLL_S = 0.02
START_WITHIN_S = 1200.0
"""The servers may have much to replay, and a worker `LOADS_WITHIN_S` to load its models."""
LONG_S = 10.0
"""A part that takes longer than this to start is told of again and again, so that nobody takes it for stuck."""
BACK_WITHIN_S = 30.0
"""How long a new user waits for a server or the API that is being started again."""
ESSENTIAL = frozenset({"postgres", "valkey", "api"})
"""Without these a user cannot do anything; a worker that is down only makes jobs wait."""

Progress = Callable[[str], None]


class NoneRuns(ServiceUnavailable):
    """No instance runs, and this user may not start one."""


class Attaching:
    """One user's lock, and how it comes to a ready instance."""

    def __init__(
        self,
        data_dir: Path,
        settings: Settings | None,
        port: int | None,
        parts: Sequence[Part] | None,
        on_progress: Progress | None,
        within_s: float,
        *,
        workers: bool = True,
    ) -> None:
        self.data_dir = data_dir
        self._settings = settings
        self._port = port
        self._parts = parts
        self._on_progress = on_progress
        self._within_s = within_s
        self._workers = workers
        self._lock: int | None = None
        self._runners: int | None = None
        self._said: set[str] = set()
        self._down_since = 0.0
        self._starting: dict[str, float] = {}
        """When each part was first seen to start."""
        self._closed = False

    def run(self, stop: threading.Event | None = None) -> tuple[State, bool]:
        """The state of a ready instance, and whether we started it. Our lock is held from here on.

        Raises ServiceUnavailable where it does not become ready, or `stop` is set meanwhile.
        """
        stop = stop or threading.Event()
        until = time.monotonic() + self._within_s
        self._said.clear()
        self._starting.clear()
        self._enter(until)
        launched, seen = "", set[str]()
        while time.monotonic() < until:
            now = state.read(self.data_dir)
            if now and now.status == state.STARTING:
                seen.add(now.launch)
            if now and now.status == state.FAILED and now.launch in seen | {launched}:
                raise failure(now)
            if now and now.is_live():
                self._tell(now)
                if self._has_what_we_need(now) and self._is_usable(now):
                    if not launched:
                        self._compare(now)
                    return now, bool(launched)
            elif (lock := self._free_supervisor_lock()) is not None:
                launched = self._launch(lock, launched, now)
            if stop.wait(POLL_S):
                raise ServiceUnavailable("It was told to stop while the instance started.")
        raise ServiceUnavailable(
            f"The instance of {self.data_dir} was not ready within {self._within_s:g} s. "
            f"Look for the cause in its logs, {self.data_dir / 'logs'}, and try again."
        )

    def leave(self) -> None:
        """Drop the lock for good."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        for descriptor in (self._lock, self._runners):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._runners = None

    def _has_what_we_need(self, now: State) -> bool:
        """Whether all that we need is up; who only reads does not wait until weights are loaded."""
        if self._workers:
            return now.status == state.READY and now.workers
        return now.status in (state.STARTING, state.READY) and now.answers

    def say(self, message: str) -> None:
        """Tell the user, once."""
        if self._on_progress and message not in self._said:
            self._said.add(message)
            self._on_progress(message)

    def _enter(self, until: float) -> None:
        """Take the users' lock; while a former instance stops, its supervisor holds it."""
        if self._closed:
            raise ServiceUnavailable("This user has closed the instance. Attach to it again.")
        if self._lock is not None and locks.is_current(self._lock, self.data_dir / locks.USERS):
            return
        self._drop()
        while True:
            try:
                descriptor = locks.open_lock(self.data_dir / locks.USERS)
            except OSError as error:
                raise folders.not_usable(self.data_dir, error) from error
            if locks.try_shared(descriptor):
                self._lock = descriptor
                self._need_workers()
                return
            os.close(descriptor)
            if self._settings is None:
                raise NoneRuns(f"The instance of {self.data_dir} is stopping.")
            if time.monotonic() > until:
                raise ServiceUnavailable(
                    f"The former instance of {self.data_dir} does not stop. Its log is in {self.data_dir / 'logs'}."
                )
            self.say("Waiting for the former instance to stop")
            time.sleep(POLL_S)

    def _need_workers(self) -> None:
        if not self._workers:
            return
        self._runners = locks.open_lock(self.data_dir / locks.RUNNERS)
        while not locks.try_shared(self._runners):  # a supervisor asks now and then whether anybody holds it
            time.sleep(POLL_S)

    def _free_supervisor_lock(self) -> int | None:
        descriptor = locks.open_lock(self.data_dir / locks.SUPERVISOR)
        if locks.try_exclusive(descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def _launch(self, lock: int, launched: str, former: State | None) -> str:
        """Start a supervisor that takes over our lock; raises ServiceUnavailable if the one we started is gone."""
        try:
            if self._settings is None:
                raise NoneRuns(f"No instance runs on {self.data_dir}.")
            if launched:
                log = logs.quoted(self.data_dir / "logs" / LOG)
                raise ServiceUnavailable(f"The supervisor ended while the instance started. {log}")
            self.say(f"Starting the local instance in {self.data_dir}")
            settings = plans.as_last_time(self._settings, former.config if former else "", self.data_dir)
            if settings is not self._settings:
                self.say(f"It starts with {settings.config}, as the last time. --config names another fleet.")
            plan = plans.plan(settings, self._port, self._parts)
            launch(self.data_dir, plan, lock, former)
            return plan.launch
        finally:
            os.close(lock)

    def _tell(self, now: State) -> None:
        if now.status == state.STARTING:
            for part in now.parts:
                if part.state in {"ready", "done"}:
                    self.say(f"{part.name} is {part.state}")
                elif part.state in {"starting", "backoff"}:
                    self._tell_of_long(part)

    def _tell_of_long(self, part: PartState) -> None:
        since = self._starting.setdefault(part.name, time.monotonic())
        if steps := int((time.monotonic() - since) / LONG_S):
            what = "loads its models" if part.name.startswith("worker-") else "starts"
            again = f", start {part.restarts + 1}" if part.restarts else ""
            self.say(f"{part.name} {what} ({steps * LONG_S:.0f} s{again})")

    def _is_usable(self, now: State) -> bool:
        """Whether the servers and the API are up; raises ServiceUnavailable if one does not come back in time."""
        down = [part for part in now.parts if part.name in ESSENTIAL and part.state != "ready"]
        if not down:
            self._down_since = 0.0
            return True
        self.say(f"Waiting for {', '.join(part.name for part in down)} to come back")
        self._down_since = self._down_since or time.monotonic()
        if time.monotonic() - self._down_since > BACK_WITHIN_S:
            raise ServiceUnavailable(
                f"{down[0].name} of the instance of {self.data_dir} is down and does not come back. "
                f"{logs.quoted(Path(down[0].log))}"
            )
        return False

    def _compare(self, now: State) -> None:
        """Raise InvalidConfig if the instance is another one than was asked for; say so where it only may surprise."""
        if self._settings is None:
            return
        if self._port and self._port != now.port:
            raise InvalidConfig(
                f"The instance of {self.data_dir} runs already, on port {now.port} and not {self._port}: another command "
                "started it, and it goes on for as long as any command uses it. Leave --port out to use it, "
                "or wait until those commands have ended (Ctrl-C ends an `up`), or give another --data-dir."
            )
        if (given := plans.given_digest(self._settings)) and given != now.given:
            raise InvalidConfig(
                f"The instance of {self.data_dir} runs already, on other servers than RIGHTSIZE_DATABASE_URL and "
                "RIGHTSIZE_REDIS_URL name. Unset them to use it, end its users first, or give another --data-dir."
            )
        asked = plans.config_path(self._settings)
        if asked and asked != now.config:
            self.say(f"The instance runs with {now.config or 'the built-in fleet'}, not with {asked}")
        elif plans.config_digest(now.config) != now.config_digest:
            self.say(f"{now.config} has changed since the instance started: it takes effect at its next start")


def failure(failed: State) -> RightsizeError:
    """The error that the supervisor ended with."""
    kind = InvalidConfig if failed.error_code == InvalidConfig.code else ServiceUnavailable
    return kind(failed.error)
