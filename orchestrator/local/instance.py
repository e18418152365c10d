"""The user's side of a local instance: attach to it, starting it where none runs, and keep it alive while needed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.errors import Conflict, RightsizeError
from orchestrator.local import folders, locks, state
from orchestrator.local.account import SHARED
from orchestrator.local.attaching import START_WITHIN_S, Attaching, NoneRuns, Progress
from orchestrator.local.parts import Part
from orchestrator.local.state import State

if TYPE_CHECKING:
    from orchestrator.settings import Settings


class Instance:
    """A running instance, held by its lock: close it, or end in any way, and it may stop."""

    def __init__(self, attaching: Attaching, snapshot: State, *, started: bool) -> None:
        self._attaching = attaching
        self._snapshot = snapshot
        self.started = started
        """Whether this user started it."""

    @property
    def database_url(self) -> str:
        """The database, as SQLAlchemy and psycopg take it."""
        return self._snapshot.database_url

    @property
    def redis_url(self) -> str:
        """The broker, as Celery takes it. For our own server plain redis-py wants `unix://PATH?db=0` instead."""
        return self._snapshot.redis_url

    @property
    def api_url(self) -> str:
        """Where the API answers, such as `http://127.0.0.1:8000`."""
        return self._snapshot.api_url

    @property
    def api_key(self) -> str:
        """The key that was made for this machine's user."""
        return self._snapshot.api_key

    @property
    def config(self) -> Path | None:
        """The rightsize.toml that it runs with, or None for the built-in fleet."""
        return Path(self._snapshot.config) if self._snapshot.config else None

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self._attaching.data_dir

    @property
    def state(self) -> State:
        """What the supervisor publishes now: status, and each part with its pid and restarts."""
        return state.read(self.data_dir) or self._snapshot

    def alive(self) -> bool:
        """Whether its supervisor runs. A part that died is the supervisor's to start again."""
        return self._snapshot.is_live()

    def ensure(self, stop: threading.Event | None = None) -> bool:
        """Start a new supervisor if the former one is gone; True if that was needed.

        The servers' addresses and the API's port stay the same where they can. Waits no longer once `stop` is set.
        """
        if self.alive():
            return False
        self._snapshot, _ = self._attaching.run(stop)
        return True

    def keep(self, stop: threading.Event, *, every_s: float = 0.2, on_problem: Progress | None = None) -> None:
        """Stay a user until `stop` is set, starting a new supervisor whenever the former one is gone."""
        wait_s = every_s
        while not stop.wait(wait_s):
            try:
                self.ensure(stop)
                wait_s = every_s
            except RightsizeError as error:
                if stop.is_set():
                    return
                wait_s = min(10.0, 2 * wait_s)
                (on_problem or self._attaching.say)(error.message)

    def close(self) -> None:
        """Give up the lock. The supervisor ends everything if this was the last user. Closing twice is fine."""
        self._attaching.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(
    settings: Settings,
    *,
    port: int | None = None,
    on_progress: Progress | None = None,
    parts: Sequence[Part] | None = None,
    within_s: float = START_WITHIN_S,
    workers: bool = True,
) -> Instance:
    """Become a user of the instance of `settings.data_dir`, starting it where none runs, and wait until it is ready.

    `port` is the API's (None or 0: the former one, or any that is free). `parts` replaces the parts beside the servers. Without
    `workers` none is started for this user, nor waited for: who only reads need not wait until weights are loaded.
    Raises InvalidConfig for what the caller can set differently, and ServiceUnavailable, with the end of the log, for a
    part that does not start.
    """
    data_dir = folders.data_dir(settings.data_dir)
    attaching = Attaching(data_dir, settings, port, parts, on_progress, within_s, workers=workers)
    try:
        snapshot, started = attaching.run()
    except BaseException:
        attaching.leave()
        raise
    return Instance(attaching, snapshot, started=started)


def find(data_dir: Path, *, on_progress: Progress | None = None, within_s: float = START_WITHIN_S) -> Instance | None:
    """Become a user of the instance that runs on a data directory, or None if none runs there.

    One that is starting is waited for. As no settings are given, such a user cannot start a new supervisor (`ensure`).
    """
    data_dir = data_dir.expanduser().absolute()
    if not (data_dir / state.FILE).is_file():
        return None
    data_dir = folders.data_dir(data_dir)
    attaching = Attaching(data_dir, None, None, None, on_progress, within_s, workers=False)
    try:
        snapshot, _ = attaching.run()
    except NoneRuns:
        attaching.leave()
        return None
    except BaseException:
        attaching.leave()
        raise
    return Instance(attaching, snapshot, started=False)


def erase(data_dir: Path) -> None:
    """Delete an instance with all its data, also what root keeps for it elsewhere. Raises Conflict while it is used."""
    if not data_dir.is_dir():
        return
    data_dir = data_dir.resolve()
    # The supervisor's as well: between the end of its last user and its next look it runs, and writes, with no user.
    with ExitStack() as held:
        for name in (locks.USERS, locks.SUPERVISOR):
            lock = locks.open_lock(data_dir / name)
            held.callback(os.close, lock)
            if not locks.try_exclusive(lock):
                raise Conflict(
                    f"The instance of {data_dir} is in use, or stops just now. End its users, then erase it."
                )
        link = data_dir / "servers"
        if link.is_symlink() and link.readlink().parent == SHARED:
            shutil.rmtree(link.readlink(), ignore_errors=True)
        shutil.rmtree(data_dir)
