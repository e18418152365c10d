"""What Python code may do once reading has begun: nothing with the network, with programs, or with files but its own libraries.

Audit hooks (PEP 578) see what goes through the interpreter, on every system; native code is bound by the kernel (`sandbox.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

_REFUSED: Final = frozenset({
    "socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "socket.getnameinfo", "socket.sethostname", "http.client.connect", "urllib.Request", "ftplib.connect",
    "smtplib.connect", "imaplib.open", "poplib.connect", "telnetlib.Telnet.open", "nntplib.connect", "webbrowser.open",
    "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn",
    "os.kill", "os.killpg",
    "os.chdir", "os.chflags", "os.chmod", "os.chown", "os.fchdir", "os.link", "os.lockf", "os.mkdir", "os.remove", "os.removexattr",
    "os.rename", "os.rmdir", "os.setxattr", "os.symlink", "os.truncate", "os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree",
    "sqlite3.connect", "tempfile.mkdtemp", "tempfile.mkstemp", "resource.prlimit", "resource.setrlimit",
})  # fmt: skip
"""Their names are in Python's table of audit events."""
_READ_A_FOLDER: Final = frozenset({"os.listdir", "os.scandir"})
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def refuse_all_but_reading(folders: Sequence[str]) -> None:
    """Refuse, from now on and for good, what reading a document has no use for: PermissionError at the place that tried.

    Files can be opened below the folders, to read; libraries load their parts and models late.
    """
    allowed = tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in folders)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _REFUSED:
            raise PermissionError(f"{event}: a reader of documents does not do that")
        if event == "open":
            path, _, flags = arguments
            if not _may_open(path, flags, allowed):
                raise PermissionError("open: a reader of documents opens no files but its libraries")
        elif event in _READ_A_FOLDER and not _is_below(arguments[0], allowed):
            raise PermissionError(f"{event}: a reader of documents looks into no folders but its libraries")
        elif event == "ctypes.dlopen" and not _may_load(arguments[0], allowed):
            raise PermissionError("ctypes.dlopen: a reader of documents loads no code but its libraries")

    sys.addaudithook(hook)


def _may_open(path: Any, flags: Any, allowed: tuple[str, ...]) -> bool:
    if isinstance(path, int):  # open already
        return True
    if os.fspath(path) in {os.devnull, os.devnull.encode()}:
        return True
    return not (isinstance(flags, int) and flags & _WRITING) and _is_below(path, allowed)


def _may_load(name: Any, allowed: tuple[str, ...]) -> bool:
    """A bare name is found by the system among its own libraries."""
    return name is None or os.sep not in os.fsdecode(name) or _is_below(name, allowed)


def _is_below(path: Any, allowed: tuple[str, ...]) -> bool:
    if path is None:
        return False
    if isinstance(path, int):
        return True
    return f"{os.path.realpath(os.fsdecode(path))}{os.sep}".startswith(allowed)
