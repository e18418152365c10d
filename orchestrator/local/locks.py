"""File locks that the kernel drops with their holder, even when it is killed with -9."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from orchestrator.errors import InvalidConfig

USERS = "users.lock"
"""Shared by every user; the supervisor that can take it exclusively has no user left."""
RUNNERS = "runners.lock"
"""Shared by those of the users who need jobs to run: the supervisor starts no worker before somebody holds it."""
SUPERVISOR = "supervisor.lock"
"""Exclusive to the one supervisor, which gets it as an open descriptor from the user that starts it."""


def open_lock(path: Path) -> int:
    """Open a lock file, closed in every child that is executed, and return its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def try_shared(descriptor: int) -> bool:
    """Take a shared lock if nobody holds an exclusive one."""
    return _try(descriptor, fcntl.LOCK_SH)


def try_exclusive(descriptor: int) -> bool:
    """Take an exclusive lock if nobody holds any."""
    return _try(descriptor, fcntl.LOCK_EX)


def is_held(descriptor: int) -> bool:
    """Whether somebody else holds the lock; who asks does not hold it afterwards."""
    if not try_exclusive(descriptor):
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def is_current(descriptor: int, path: Path) -> bool:
    """Whether the open lock is still the file at that path; it is not once the data directory was removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InvalidConfig(
            f"The file system of the data directory has no locks ({error.strerror}). Give --data-dir a local disk."
        ) from error
    return True
