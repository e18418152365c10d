"""Servers as somebody else would run them: PostgreSQL and Valkey on the loopback, with passwords, in folders of their own.

Two PostgreSQLs can be had: the embedded one, and the oldest of this machine that Rightsize supports.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
import redis

from orchestrator.local import account as accounts
from orchestrator.local.account import Account
from orchestrator.local.postgres import ENVIRONMENT, Postgres
from orchestrator.local.valkey import Valkey
from orchestrator.store.migrate import OLDEST_SERVER

T = TypeVar("T")
PASSWORD = "p@ss/w:rd %41"
"""Of servers that live for one test. Every character needs quoting in a URL."""
NONE_HERE = (
    "this machine has no PostgreSQL of its own, so nothing was shown about other releases than the embedded one: "
    "apt install postgresql (or: brew install postgresql@15)"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL that answers on the loopback."""

    port: int
    version: int
    """Such as 150018."""

    def url(self, database: str, user: str = "admin", password: str = PASSWORD) -> str:
        """A database's URL; `admin` is the superuser."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str) -> None:
        """Run statements as the superuser."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def of_this_machine() -> Path | None:
    """The folder of the programs of the oldest PostgreSQL here that Rightsize supports, or None."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if asked := shutil.which("pg_config"):
        told = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders.append(Path(told or "/"))
    found = {_major(folder): folder for folder in folders if (folder / "initdb").is_file()}
    supported = [major for major in found if major >= OLDEST_SERVER // 10_000]
    return found[min(supported)] if supported else None


def embedded() -> Path:
    """The folder of the programs of the embedded PostgreSQL."""
    return Postgres(Path("/unused"), Path("/unused"), accounts.server_account()).home / "bin"


@contextmanager
def postgres(programs: Path) -> Iterator[Server]:
    """A new PostgreSQL that wants a password, for as long as the block lasts."""
    account = accounts.server_account()
    with _folder("rs-pg-", account) as folder:
        secret, data, port = folder / "password", folder / "data", _free_port()
        secret.write_text(PASSWORD, "utf-8")
        init = [programs / "initdb", "-D", data, "-U", "admin", f"--pwfile={secret}", "-A", "scram-sha-256", "-N", "-E", "UTF8",
                "--locale=C"]  # fmt: skip
        secret.chmod(0o644)
        _run(init, account)
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 100,
        }
        flags = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        process = _popen([programs / "postgres", "-D", data, *flags], account, folder / "log")
        try:
            url = Server(port, 0).url("postgres")
            connection = _until_up(lambda: psycopg.connect(url, connect_timeout=2), psycopg.OperationalError)
            with closing(connection):
                version = connection.info.server_version
            yield Server(port, version)
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait(10)


class OwnValkey:
    """A Valkey that wants a password, and that can be killed."""

    def __init__(self, folder: Path, account: Account | None) -> None:
        port, secret = _free_port(), "s3cret"
        self.url = f"redis://:{secret}@127.0.0.1:{port}/0"
        self._folder, self._account = folder, account
        options = {"port": port, "bind": "127.0.0.1", "requirepass": secret, "save": "", "dir": folder, "appendonly": "yes",
                   "maxmemory-policy": "noeviction"}  # fmt: skip
        flags = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self._argv = [Valkey(folder, folder, account).program, *flags]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = _popen(self._argv, self._account, self._folder / "log")
        with closing(redis.Redis.from_url(self.url)) as client:
            _until_up(client.ping, redis.RedisError)
        return process

    def kill(self, *, forget: bool) -> None:
        """Kill it with -9 and start it again on the same port, with what it had written or with nothing."""
        self.close()
        if forget:
            shutil.rmtree(self._folder / "appendonlydir")
        self._process = self._start()

    def close(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.wait(10)


@contextmanager
def valkey() -> Iterator[OwnValkey]:
    """A new Valkey, for as long as the block lasts."""
    account = accounts.server_account()
    with _folder("rs-valkey-", account) as folder, closing(OwnValkey(folder, account)) as made:
        yield made


def _major(programs: Path) -> int:
    told = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)", told)
    return int(found[1]) if found else 0


@contextmanager
def _folder(prefix: str, account: Account | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        if account is not None:
            account.own(folder)
        yield folder


def _run(argv: Sequence[object], account: Account | None) -> None:
    words = [str(word) for word in argv]
    done = subprocess.run(words, env=ENVIRONMENT, cwd="/", capture_output=True, text=True, check=False, **_as(account))
    assert done.returncode == 0, done.stderr


def _popen(argv: Sequence[object], account: Account | None, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(word) for word in argv],
            env=ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            **_as(account),
        )


def _as(account: Account | None) -> dict[str, Any]:
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _until_up(connect: Callable[[], T], refusal: type[Exception]) -> T:
    """What `connect` gives once it is not refused any more."""
    end = time.monotonic() + 30
    while True:
        try:
            return connect()
        except refusal:
            assert time.monotonic() < end, "the server does not come up"
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
