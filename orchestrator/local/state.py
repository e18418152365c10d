"""What the supervisor publishes about the instance: one file, replaced whole, private because it holds the API key."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from orchestrator.local.processes import is_same

FILE = "instance.json"

STARTING, READY, STOPPING, STOPPED, FAILED = "starting", "ready", "stopping", "stopped", "failed"


@dataclass(frozen=True, slots=True)
class PartState:
    """How one part of the instance fares."""

    name: str
    state: str
    """waiting, starting, ready, backoff (died, and will be started again), done (ran to its end), failed, stopping, stopped."""
    pid: int = 0
    started_ticks: int = 0
    restarts: int = 0
    log: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """The whole state file."""

    status: str
    launch: str
    """A random name of this run of a supervisor, so that a former one's state is not taken for it."""
    supervisor: int = 0
    supervisor_ticks: int = 0
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    given: str = ""
    """A digest of the URLs of servers that were given, so that a user with other ones can be told."""
    port: int = 0
    api_key: str = field(default="", repr=False)
    key_database: str = ""
    """A digest of the database that the API key belongs to."""
    config: str = ""
    config_digest: str = ""
    servers: str = ""
    answers: bool = False
    """Whether the servers and the API are up and take the key: who only reads needs no more."""
    workers: bool = False
    """Whether somebody needs workers, so that `ready` means them as well."""
    stop_within_s: float = 30.0
    error_code: str = ""
    error: str = ""
    parts: tuple[PartState, ...] = ()

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.port}" if self.port else ""

    def is_live(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.supervisor > 0 and is_same(self.supervisor, self.supervisor_ticks)

    def part(self, name: str) -> PartState | None:
        """The part of that name."""
        return next((part for part in self.parts if part.name == name), None)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `asdict` wrote; keys of a newer release are left out."""
        known = {f.name for f in fields(cls)}
        parts = tuple(PartState(**part) for part in data.get("parts", ()))
        return cls(**{**{k: v for k, v in data.items() if k in known}, "parts": parts})


def read(data_dir: Path) -> State | None:
    """The published state, or None where there is none that can be read."""
    try:
        data = json.loads((data_dir / FILE).read_text("utf-8"))
        return State.from_dict(data)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def publish(data_dir: Path, state: State) -> None:
    """Replace the state file: readers see the old one or the new one, also after a power cut. Raises OSError."""
    path, new = data_dir / FILE, data_dir / f"{FILE}.{os.getpid()}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
