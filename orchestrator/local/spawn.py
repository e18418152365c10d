"""Starting a child that cannot outlive the supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Final

from orchestrator.local.account import Account

PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    stdin: int,
    stdout: IO[bytes],
    orphan_signal: int,
    stderr: IO[bytes] | None = None,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, as `account`, which the kernel signals when the supervisor dies.

    Call it from the main thread only: the kernel takes the end of the forking thread for the parent's death. The
    signal is set after the change of account, which would clear it. Where there is no such call (macOS), the next
    supervisor ends the orphans. Every other descriptor, the locks first of all, is closed in the child.
    """
    parent = os.getpid()

    def last_steps() -> None:
        for number in (signal.SIGINT, signal.SIGHUP):  # ignored by the supervisor, and that would be inherited
            signal.signal(number, signal.SIG_DFL)
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
            if os.getppid() != parent:  # it died before the call
                os._exit(1)

    return subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr or stdout,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
        preexec_fn=last_steps,  # noqa: PLW1509  (the supervisor has one thread)
    )


def exit_reason(code: int) -> str:
    """How a child ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
