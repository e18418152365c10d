"""The walls around a process that reads documents: what it may take, see and do, set by itself before it gets the first one.

Several stand behind one another, since no system has them all: limits of the kernel, an empty network, no capabilities, calls that
fail (`seccomp.py`), folders (`landlock.py`), and a watch over Python code (`audit.py`). `Guards` says which of them hold.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.documents.apart.audit import refuse_all_but_reading
from orchestrator.documents.apart.landlock import read_only_below
from orchestrator.documents.apart.seccomp import refuse_calls

MEMORY_BYTES: Final = 1024**3
LIFETIME_CPU_S: Final = 3_600
"""Of one process; it is replaced long before."""
MOST_FILES: Final = 128
MOST_TASKS: Final = 256
"""Threads, where they can be counted apart from all others of this user."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_CAPABILITY_VERSION: Final = 0x2008_0522
_READING: Final = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root without them could not load libraries that another user owns."""
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/sys/devices/system/cpu", "/proc/self", "/proc/cpuinfo",
                  "/proc/meminfo", "/dev/null", "/dev/urandom", "/etc/localtime", "/nix/store")  # fmt: skip
"""What native libraries read: other libraries, fonts, how many processors and how much memory there is."""


@dataclass(frozen=True, slots=True)
class Guards:
    """Which of the walls hold on this system."""

    memory: bool
    cpu: bool
    no_writing: bool
    few_files: bool
    no_core: bool
    few_tasks: bool
    no_network: bool
    """It is in a network of its own, in which there is nothing."""
    no_capabilities: bool
    no_new_privileges: bool
    dies_with_parent: bool
    folders: bool
    calls: bool
    python: bool


def enter(memory_bytes: int = MEMORY_BYTES) -> Guards:
    """Put up all the walls that this system has, for good; to be called while the process has one thread.

    What is imported and open already stays so. Modules of the standard library, of installed packages and of this one can still
    be imported.
    """
    sys.dont_write_bytecode = True
    libc = ctypes.CDLL(None, use_errno=True)
    is_linux = sys.platform == "linux"
    is_root, folders = os.geteuid() == 0, own_folders()
    limits = {
        "few_files": _limited(resource.RLIMIT_NOFILE, MOST_FILES),
        "no_writing": _limited(resource.RLIMIT_FSIZE, 0),
        "no_core": _limited(resource.RLIMIT_CORE, 0),
        "cpu": _limited(resource.RLIMIT_CPU, LIFETIME_CPU_S),
        "memory": _limited_memory(memory_bytes) and is_linux,  # elsewhere it is taken and not kept
    }
    has_own_users, has_own_network = _left_the_network(libc) if is_linux else (False, False)
    no_new_privileges = is_linux and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    no_capabilities = is_linux and _dropped_capabilities(libc)
    # Last of these: who changes their powers loses it.
    dies_with_parent = is_linux and libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    # Elsewhere this user's other processes count as well, and a limit could leave no thread at all. Root knows no such limit.
    few_tasks = has_own_users and not is_root and _limited(resource.RLIMIT_NPROC, MOST_TASKS)
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    has_folders = no_new_privileges and read_only_below(libc, [*_SYSTEM, *filter(None, libraries), *folders])
    has_calls = no_new_privileges and refuse_calls(libc)
    refuse_all_but_reading(folders)
    return Guards(
        **limits,
        few_tasks=few_tasks,
        no_network=has_own_network,
        no_capabilities=no_capabilities,
        no_new_privileges=no_new_privileges,
        dies_with_parent=dies_with_parent,
        folders=has_folders,
        calls=has_calls,
        python=True,
    )


def own_folders() -> list[str]:
    """Where Python, its packages and this one lie: all that a reader may still open.

    Of a checkout only the package itself: beside it may lie anything.
    """
    found = [entry for entry in sys.path if entry not in {"", os.sep} and not Path(entry, "pyproject.toml").exists()]
    return [*found, str(Path(__file__).resolve().parents[2]), str(Path(sys.base_prefix, "lib"))]


def _limited(what: int, most: int) -> bool:
    """Set a limit as hard as it can be; one that is lower already stays."""
    _, hard = resource.getrlimit(what)
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(what, (limit, limit))
    except (ValueError, OSError):  # some systems know no such limit
        return False
    return True


def _limited_memory(most: int) -> bool:
    """Bound what a process writes to, and its address space, in which files such as libraries count as well, to twice as much."""
    has_data = _limited(resource.RLIMIT_DATA, most)
    return _limited(resource.RLIMIT_AS, 2 * most) and has_data


def _left_the_network(libc: ctypes.CDLL) -> tuple[bool, bool]:
    """Move into a network of its own, with nothing in it: whether it has users of its own for that, and whether it worked.

    Root needs no users of its own; anybody else does, where the system lets them.
    """
    if libc.unshare(_CLONE_NEWNET) == 0:
        return False, True
    worked = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    return worked, worked


def _dropped_capabilities(libc: ctypes.CDLL) -> bool:
    """Give up every power of root but those to read files, where there are any."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, low words and then high ones
    if libc.capget(header, sets) != 0:
        return False
    kept = sets[1] & _READING if os.geteuid() == 0 else 0
    return bool(libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)) == 0)
