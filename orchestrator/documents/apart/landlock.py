"""Only named folders can be read from now on, and no file written: the kernel sees to it, for native code too, on Linux.

After `Documentation/userspace-api/landlock.rst` of the kernel's sources. What is open already stays readable.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_BITS_BY_VERSION: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of the interface knows; all are handled, so that all but reading is refused."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_BIND_AND_CONNECT: Final = 3
_SOCKETS_AND_SIGNALS: Final = 3


def read_only_below(libc: ctypes.CDLL, folders: Iterable[str]) -> bool:
    """Let this thread and those that it starts read below these folders, and do nothing else with files or TCP.

    False where the kernel cannot. Needs `no_new_privs`. To be called while there is one thread only.
    """
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return False
    rights = (1 << _BITS_BY_VERSION.get(version, 16)) - 1
    handled = struct.pack("=Q", rights)
    handled += struct.pack("=Q", _BIND_AND_CONNECT) if version >= _TCP_SINCE else b""
    handled += struct.pack("=Q", _SOCKETS_AND_SIGNALS) if version >= _SCOPES_SINCE else b""
    rules = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return False
    try:
        return all(_allowed(libc, rules, folder) for folder in folders) and libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allowed(libc: ctypes.CDLL, rules: int, folder: str) -> bool:
    """Add a folder, or a single file, to what can be read; one that is not there needs no rule."""
    try:
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        mode = os.fstat(place).st_mode
        further = _READ_FOLDER if stat.S_ISDIR(mode) else _WRITE_FILE if stat.S_ISCHR(mode) else 0  # /dev/null
        rule = struct.pack("=Qi", _READ_FILE | further, place)
        return bool(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0) == 0)
    finally:
        os.close(place)
