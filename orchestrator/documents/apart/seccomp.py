"""Calls into the kernel that a reading process has no use for fail: a filter that binds native code too, on Linux.

The filter is a short program of classic BPF that the kernel runs at each call: see `Documentation/userspace-api/seccomp_filter.rst`
of the kernel's sources. Most calls pass; a list is refused with EPERM. It is passed on to threads and cannot be taken off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import Final

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW: Final = 0x7FFF_0000
_FAIL: Final = 0x0005_0000
_KILL: Final = 0x8000_0000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_CLONE_THREAD: Final = 0x1_0000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

_MACHINES: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_REFUSED: Final = {
    # Sockets; programs; other processes and their memory; views of the system; keys; whatever carries out calls unseen.
    "x86_64": (
        41, 42, 53, 57, 58, 59, 322, 101, 129, 200, 297, 310, 311, 424, 434, 438, 165, 272, 304, 308, 248, 249, 250, 298, 321, 323,
        425,
    ),
    "aarch64": (
        198, 203, 199, 221, 281, 117, 138, 130, 240, 270, 271, 424, 434, 438, 40, 97, 265, 268, 217, 218, 219, 241, 280, 282, 425,
    ),
}  # fmt: skip
"""By their numbers: socket, connect, socketpair, fork, vfork, execve, execveat, ptrace, rt_sigqueueinfo, tkill, rt_tgsigqueueinfo,
process_vm_readv, process_vm_writev, pidfd_send_signal, pidfd_open, pidfd_getfd, mount, unshare, open_by_handle_at, setns, add_key,
request_key, keyctl, perf_event_open, bpf, userfaultfd, io_uring_setup. There is no fork and no vfork on aarch64."""
_OWN_ONLY: Final = {"x86_64": (62, 234, 302), "aarch64": (129, 131, 261)}
"""kill, tgkill and prlimit64: what a process does to itself is its own business."""
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_X32_BIT: Final = 0x4000_0000


def refuse_calls(libc: ctypes.CDLL) -> bool:
    """Refuse them from now on, for this thread and those that it starts; False where this system has no such filter.

    Needs `no_new_privs`. To be called while there is one thread only.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        return False
    program = _program(machine, os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, described, 0, 0) == 0)


def _program(machine: str, pid: int) -> bytes:
    refuse = _return(_FAIL | errno.EPERM)
    steps = [_load(_MACHINE_AT), _jump(_EQUAL, _MACHINES[machine], 1, 0), _return(_KILL), _load(_NUMBER_AT)]
    if machine == "x86_64":  # the same calls under other numbers
        steps += [_jump(_ANY_BIT, _X32_BIT, 0, 1), _return(_KILL)]
    for number in _REFUSED[machine]:
        steps += [_jump(_EQUAL, number, 0, 1), refuse]
    # A new thread is fine, a new process is not. clone3 hides which it is behind a pointer; without it the C library uses clone.
    steps += [_jump(_EQUAL, _CLONE3, 0, 1), _return(_FAIL | errno.ENOSYS)]
    steps += [_jump(_EQUAL, _CLONE[machine], 0, 4), _load(_ARGUMENTS_AT), _jump(_ANY_BIT, _CLONE_THREAD, 1, 0), refuse]
    steps += [_return(_ALLOW)]
    for number in _OWN_ONLY[machine]:
        steps += [_jump(_EQUAL, number, 0, 5), _load(_ARGUMENTS_AT), _jump(_EQUAL, pid, 2, 0), _jump(_EQUAL, 0, 1, 0)]
        steps += [refuse, _return(_ALLOW)]
    return b"".join([*steps, _return(_ALLOW)])


def _load(place: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, place)


def _jump(test: int, value: int, if_so: int, if_not: int) -> bytes:
    return struct.pack("=HBBI", test, if_so, if_not, value)


def _return(verdict: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, verdict)
