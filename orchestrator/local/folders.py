"""The folders of an instance: the data directory, the short one of the sockets, and the one of the servers' data."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.local import account as accounts
from orchestrator.local.account import Account

MADE = frozenset(
    {
        "blobs", "demo-on-llm.jsonl", "demo-results.jsonl", "instance.json", "logs", "run", "servers", "supervisor.lock",
        "users.lock",
    }
)  # fmt: skip
"""What we put into a data directory."""
MARKS = frozenset({"instance.json", "users.lock"})
"""Either of them says that an instance was here."""
ALSO = frozenset({"lost+found"})
"""What may lie in a new one besides: a disk of its own has that."""
SOCKET_PATH_MAX = 107
LONGEST_SOCKET = ".s.PGSQL.5432.lock"
SERVER_PATH_MAX = 900
"""PostgreSQL takes paths of 1024 bytes, its own names included."""


def data_dir(path: Path) -> Path:
    """The data directory, made if need be and checked. Raises InvalidConfig or ServiceUnavailable with the remedy."""
    path = path.expanduser().absolute()
    if len(os.fsencode(path)) > SERVER_PATH_MAX:
        raise InvalidConfig(
            f"The path of the data directory is too long (over {SERVER_PATH_MAX} bytes): give --data-dir a shorter one."
        )
    try:
        if not path.exists():
            # The servers of root run as another account, which must pass through; everything inside stays private.
            path.mkdir(parents=True, mode=0o700)
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        path = path.resolve()
        owner = path.stat().st_uid
        if owner == os.geteuid():
            _require_ours(path)
        logs = path / "logs"
        if owner == os.geteuid():
            logs.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise not_usable(path, error) from error
    if owner != os.geteuid():
        raise InvalidConfig(
            f"The data directory {path} belongs to user {owner}, not to you (user {os.geteuid()}). "
            "Run as its owner, or give --data-dir (RIGHTSIZE_DATA_DIR) another folder."
        )
    return path


def _require_ours(path: Path) -> None:
    """Raise InvalidConfig for a folder that is in use for something else, such as the one where somebody works."""
    names = {entry.name for entry in path.iterdir()}
    strange = sorted(names - MADE - ALSO)
    if strange and not names & MARKS:
        raise InvalidConfig(
            f"{path} is no data directory of ours, and not empty: {strange[0]!r} lies in it. "
            "Give --data-dir (RIGHTSIZE_DATA_DIR) an empty folder, or one that does not exist yet."
        )


def not_usable(path: Path, error: OSError) -> InvalidConfig | ServiceUnavailable:
    """The error for a folder that we cannot use, with what to do about it."""
    reason = error.strerror or str(error)
    if error.errno in {28, 122}:  # ENOSPC, EDQUOT
        return ServiceUnavailable(
            f"The disk of {path} is full ({reason}). Free some space, or give --data-dir another disk."
        )
    return InvalidConfig(
        f"Cannot use the data directory {path}: {reason}. "
        "Give --data-dir (RIGHTSIZE_DATA_DIR) a folder that you can write to."
    )


def runtime_folder(data: Path, account: Account | None) -> Path:
    """The private folder (0700) of the sockets, made if need be; its path is short enough for a socket.

    It is not put under XDG_RUNTIME_DIR first, because that is emptied when its user logs out, and an instance under
    nohup or tmux lives on. In a shared folder such as /tmp somebody else may have made it before us: then it is not
    used. Raises InvalidConfig where no place serves.
    """
    name = f"rightsize-{os.geteuid()}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"
    refused = []
    for base in _bases():
        folder = base / name
        if len(os.fsencode(folder / LONGEST_SOCKET)) > SOCKET_PATH_MAX:
            refused.append(f"{folder} is too long for a socket")
            continue
        try:
            make_private(folder, account)
        except OSError as error:
            refused.append(f"{folder}: {error.strerror}")
            continue
        return folder
    raise InvalidConfig(
        f"No folder for the sockets: {'; '.join(refused)}. Set TMPDIR to a short folder that you can write to."
    )


def servers_folder(data: Path, account: Account | None) -> Path:
    """The folder of the servers' data: `servers` in the data directory.

    For root, where the servers' account cannot reach that, it is a link to a folder of its own in /var/lib/rightsize.
    """
    link = data / "servers"
    if link.is_dir():
        return link.resolve()
    if link.is_symlink():
        raise ServiceUnavailable(
            f"The servers' data is gone: {link} leads to {link.readlink()}. "
            "Restore it, or remove the link to begin anew."
        )
    if account is None or accounts.can_reach(data):
        return accounts.open_folder(link)
    accounts.open_folder(accounts.SHARED)
    folder = accounts.open_folder(accounts.SHARED / secrets.token_hex(8))
    link.symlink_to(folder)
    return folder


def own_folder(path: Path, account: Account | None) -> None:
    """Make a folder that only the servers' account can use."""
    path.mkdir(mode=0o700, exist_ok=True)
    if account:
        account.own(path)


def _bases() -> list[Path]:
    root = os.geteuid() == 0
    named = [Path("/run")] if root else []
    named += [Path(os.environ[key]) for key in ("TMPDIR",) if os.environ.get(key)]
    named += [Path("/tmp")]  # noqa: S108  (a private folder with checked owner and mode goes into it)
    named += [] if root else [Path(os.environ[key]) for key in ("XDG_RUNTIME_DIR",) if os.environ.get(key)]
    return [base for base in named if base.is_dir() and (not root or accounts.can_reach(base))]


def make_private(folder: Path, account: Account | None) -> None:
    """Make the folder, or accept one that is there only if it is truly ours; raises OSError."""
    owners = {account.uid if account else os.geteuid(), os.geteuid()}
    try:
        folder.mkdir(mode=0o700)
        if account:
            account.own(folder)
    except FileExistsError:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid not in owners or stat.S_IMODE(info.st_mode) != 0o700:
            raise PermissionError(1, "is there already, and not private to us: remove it") from None
        if account:
            account.own(folder)
