"""Putting an instance together: its servers, then its parts stage by stage, with what each must be told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.local import folders, logs, probe
from orchestrator.local.account import server_account
from orchestrator.local.parts import PORT, Part
from orchestrator.local.plan import Plan
from orchestrator.local.postgres import Postgres
from orchestrator.local.running import DONE, WAITING, Running
from orchestrator.local.state import State
from orchestrator.local.valkey import Valkey


class Assembly:
    """All parts of one run, in the order of their start."""

    def __init__(self, data_dir: Path, plan: Plan, former: State | None) -> None:
        self.data_dir = data_dir
        self.plan = plan
        account = server_account()
        self.runtime = folders.runtime_folder(data_dir, account)
        self.run = data_dir / "run"
        """Our own, not the servers': what a part writes there is nothing that they could have put a link to."""
        self.run.mkdir(mode=0o700, exist_ok=True)
        own = not (plan.database_url and plan.redis_url)
        self.servers = folders.servers_folder(data_dir, account) if own else None
        self.postgres = (
            Postgres(self.servers, self.runtime, account) if self.servers and not plan.database_url else None
        )
        self.valkey = Valkey(self.servers, self.runtime, account) if self.servers and not plan.redis_url else None
        self.database_url = plan.database_url or (self.postgres.url if self.postgres else "")
        self.redis_url = plan.redis_url or (self.valkey.url if self.valkey else "")
        self.port = former.port if former else 0
        self.api_key = former.api_key if former and former.key_database == self._key_database else ""
        self._key_is_checked = False
        self.has_runners = False
        """Whether a user needs workers: until then none is started."""
        self.all: list[Running] = []
        if self.valkey:
            self.all.append(self._running(self.valkey.part(), self.valkey.is_ready, self.valkey.before_start))
        if self.postgres:
            self.all.append(self._running(self.postgres.part(), self.postgres.is_ready, self.postgres.before_start))
        self.all += [self._running(part, self._check(part), self._clear(part)) for part in plan.parts]

    def create_servers(self) -> None:
        """Make the servers' data where there is none yet; a new database knows no key."""
        if self.valkey:
            self.valkey.create()
        if self.postgres and self.postgres.create(self._log("postgres")):
            self.api_key = ""

    def advance(self) -> None:
        """Start the parts of the next stage once everything before it is ready, and take note of the key."""
        waiting = [running.part.stage for running in self.all if running.state == WAITING]
        stage = min(waiting, default=0)
        if waiting and all(running.is_ready for running in self.all if running.part.stage < stage):
            for running in self.all:
                if running.part.stage == stage and running.state == WAITING and self._is_wanted(running):
                    self._start(running)
        for running in self.all:
            if running.part.kind == "key" and running.state == DONE and not self.api_key:
                self.api_key = _printed_key(running)
        if not self._key_is_checked and all(running.came_up for running in self.all if not running.part.is_worker):
            self._check_key()

    def is_ready(self) -> bool:
        """Whether everything came up that its users need."""
        return self._key_is_checked and all(running.came_up for running in self.all if self._is_wanted(running))

    def _is_wanted(self, running: Running) -> bool:
        return self.has_runners or not running.part.is_worker

    def tidy(self) -> None:
        """Remove the folder of the sockets, unless something of somebody else's lies in it."""
        for running in self.all:
            self._ready_file(running.part).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.runtime.rmdir()

    def published(self) -> dict[str, Any]:
        """The fields of the state file that are known here."""
        return {
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "port": self.port,
            "api_key": self.api_key,
            "answers": self._key_is_checked,
            "workers": self.has_runners,
            "key_database": self._key_database,
            "servers": str(self.servers or ""),
            "parts": tuple(running.published() for running in self.all),
        }

    @property
    def _key_database(self) -> str:
        return hashlib.sha256(self.database_url.encode()).hexdigest()[:16]

    def _start(self, running: Running) -> None:
        part = running.part
        if part.kind == "key" and self.api_key:
            running.skip()
            return
        if part.kind == "http":
            self._choose_port()
        argv = tuple(word.replace(PORT, str(self.port)) for word in part.argv)
        running.start(argv, part.env if part.is_server else self._environment(part))

    def _environment(self, part: Part) -> dict[str, str]:
        config = {"RIGHTSIZE_CONFIG": self.plan.config} if self.plan.config else {}
        return {
            **os.environ,
            **self.plan.env,
            **config,
            "RIGHTSIZE_DATABASE_URL": self.database_url,
            "RIGHTSIZE_REDIS_URL": self.redis_url,
            "RIGHTSIZE_DATA_DIR": str(self.data_dir),
            "RIGHTSIZE_SUPERVISED": "1",
            "RIGHTSIZE_READY_FILE": str(self._ready_file(part)),
            **part.env,
        }

    def _choose_port(self) -> None:
        """The port asked for, or the former one, or any; raises InvalidConfig for one that is asked for and in use."""
        if self.plan.port:
            if not probe.is_free(self.plan.port):
                raise InvalidConfig(
                    f"Port {self.plan.port} of {probe.HOST} is in use by another program. "
                    "Give --port another one, or leave it out for any free one."
                )
            self.port = self.plan.port
        elif not probe.is_free(self.port):
            self.port = probe.free_port()

    def _check_key(self) -> None:
        """Make sure that the API takes the key of a former run, and make another where it was revoked."""
        kept = [r for r in self.all if r.part.kind == "key" and not r.output]
        if kept and self.port and probe.http_status(self.port, "/v1/models", bearer=self.api_key) == 401:
            self.api_key = ""
            kept[0].start(kept[0].part.argv, self._environment(kept[0].part))
        else:
            self._key_is_checked = True

    def _running(self, part: Part, check: Callable[[int], bool], before: Callable[[], None] | None) -> Running:
        return Running(part, self._log(part.name), check, before)

    def _check(self, part: Part) -> Callable[[int], bool]:
        if part.kind == "http":
            return lambda _pid: probe.http_status(self.port, "/readyz") == 200
        return lambda _pid: self._ready_file(part).exists()

    def _clear(self, part: Part) -> Callable[[], None]:
        return lambda: self._ready_file(part).unlink(missing_ok=True)

    def _ready_file(self, part: Part) -> Path:
        return self.run / f"{part.name}.ready"

    def _log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"


def _printed_key(running: Running) -> str:
    try:
        return str(json.loads(running.output)["key"])
    except (ValueError, KeyError, TypeError):
        raise ServiceUnavailable(
            f"{running.part.name} printed no API key. {logs.quoted(running.log)}\n"
            "`rightsize keys create --name local --json` shows more."
        ) from None
