"""The walls around a process that reads documents: each is tried from inside, from Python and past it."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from orchestrator.documents.apart.sandbox import MEMORY_BYTES, Guards

CALLS = {
    "x86_64": {
        "socket": 41,
        "open": 2,
        "fork": 57,
        "clone": 56,
        "clone3": 435,
        "kill": 62,
        "execve": 59,
        "ptrace": 101,
        "unlink": 87,
    },
    "aarch64": {"socket": 198, "openat": 56, "clone": 220, "clone3": 435, "kill": 129, "execve": 221, "ptrace": 117},
}.get(platform.machine(), {})

BEFORE = """
import ctypes, dataclasses, errno, json, os, sys
from orchestrator.documents.apart import sandbox
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*arguments)
    return errno.errorcode.get(ctypes.get_errno(), "?") if result < 0 else "done"
def tried(deed):
    try:
        return f"did {deed()!r}"[:200]
    except BaseException as error:
        return type(error).__name__
"""


def within(code: str, *, memory_bytes: int = MEMORY_BYTES) -> Any:
    """What an expression gives in a process that has put up its walls."""
    script = f"{BEFORE}guards = dataclasses.asdict(sandbox.enter({memory_bytes}))\n{textwrap.dedent(code)}\nprint(json.dumps(result))\n"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, cwd="/", timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def guards() -> Guards:
    return Guards(**within("result = guards"))


@pytest.fixture
def has(guards):
    """Skips, and says so, where this system has no such wall."""

    def check(name: str) -> None:
        if not getattr(guards, name):
            pytest.skip(f"this system has no guard {name!r}")

    return check


def test_every_linux_has_the_walls_that_need_no_leave(guards):
    assert sys.platform == "linux"
    needed = {
        "memory",
        "cpu",
        "no_writing",
        "few_files",
        "no_core",
        "no_new_privileges",
        "dies_with_parent",
        "no_capabilities",
        "python",
    }
    assert {name for name, holds in dataclasses.asdict(guards).items() if holds} >= needed


def test_a12_threads_are_bounded(has):
    has("few_tasks")
    code = """
    import threading
    done = threading.Event()
    threading.stack_size(256 * 1024)
    result = tried(lambda: [threading.Thread(target=done.wait).start() for _ in range(1000)])
    done.set()
    """
    assert within(code) == "RuntimeError"


def test_a12_memory_is_bounded(guards):
    assert within("result = tried(lambda: len(bytearray(10**9)))", memory_bytes=512 * 1024**2) == "MemoryError"


def test_a15_python_code_opens_no_socket_and_asks_no_name_server():
    code = """
    import socket
    result = [tried(socket.socket), tried(lambda: socket.getaddrinfo("localhost", 1)), tried(lambda: socket.gethostbyname("localhost"))]
    """
    assert within(code) == ["PermissionError"] * 3


def test_a15_there_is_no_way_out_of_its_network(has):
    has("no_network")
    code = """
    result = os.read(libc.open(b"/proc/self/net/route", 0), 4096).decode().splitlines()[1:]
    """
    assert within(code) == []


@pytest.mark.skipif(not CALLS, reason="no filter of calls on this machine")
def test_a15_native_code_opens_no_socket_starts_no_program_and_touches_no_other_process(has):
    has("calls")
    code = f"""
    calls = {CALLS}
    result = [
        call(calls["socket"], 2, 1, 0), call(calls["socket"], 1, 1, 0), call(calls["execve"], b"/bin/true", None, None),
        call(calls["ptrace"], 16, os.getppid(), 0, 0), call(calls["kill"], os.getppid(), 0), call(calls["kill"], -1, 0),
        call(calls["kill"], os.getpid(), 0), call(calls["clone"], 17, 0, 0, 0, 0), call(calls["clone3"], 0, 0),
        call(425, 8, 0), call(calls.get("fork", calls["clone"]), 17, 0, 0, 0, 0),
    ]
    """
    refused = ["EPERM"] * 6
    assert within(code) == [*refused, "done", "EPERM", "ENOSYS", "EPERM", "EPERM"]


def test_threads_still_start():
    code = """
    import threading
    threads = [threading.Thread(target=int) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    result = "started"
    """
    assert within(code) == "started"


def test_python_code_starts_no_program_and_no_other_process():
    code = """
    import subprocess, signal
    result = [
        tried(lambda: subprocess.run(["true"])), tried(lambda: os.system("true")), tried(os.fork), tried(lambda: os.execv("/bin/true", ["true"])),
        tried(lambda: os.posix_spawn("/bin/true", ["true"], {})), tried(lambda: os.kill(os.getppid(), 0)),
    ]
    """
    assert within(code) == ["PermissionError"] * 6


def test_a11_python_code_opens_nothing_but_libraries(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    code = f"""
    import json.decoder
    result = [
        tried(lambda: open({str(secret)!r}).read()), tried(lambda: os.open({str(secret)!r}, os.O_RDONLY)), tried(lambda: open("/etc/passwd").read()),
        tried(lambda: os.listdir({str(tmp_path)!r})), tried(lambda: open(f"/proc/{{os.getppid()}}/environ").read()),
        tried(lambda: open(os.path.join(os.path.dirname(json.__file__), "../../../../../etc/passwd"))),
        tried(lambda: open({str(tmp_path / "new")!r}, "w")), tried(lambda: open(json.__file__, "r+")), tried(lambda: os.remove({str(secret)!r})),
        tried(lambda: os.rename({str(secret)!r}, "/x")), tried(lambda: os.mkdir({str(tmp_path / "folder")!r})),
        tried(lambda: ctypes.CDLL({str(secret)!r})), tried(lambda: open(json.__file__).read(8)), tried(lambda: open(os.devnull, "w").write("x")),
        tried(lambda: open(__import__("orchestrator").__file__).read(8)),
    ]
    """
    told = within(code)
    assert told[:12] == ["PermissionError"] * 12
    assert [one[:3] for one in told[12:]] == ["did"] * 3
    assert secret.read_text() == "canary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]


def test_of_a_checkout_only_the_package_can_be_opened():
    code = """
    from pathlib import Path
    root = Path(sandbox.__file__).parents[3]
    result = [tried(lambda: (root / "pyproject.toml").read_text()), tried(lambda: os.listdir(root))]
    """
    assert within(code) == ["PermissionError"] * 2


def test_a11_native_code_opens_nothing_but_libraries(has, tmp_path):
    has("folders")
    secret = tmp_path / "secret"
    secret.write_text("canary")
    code = f"""
    libc.open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    def opened(path, flags=0):
        return errno.errorcode.get(ctypes.get_errno()) if libc.open(path, flags, 0o600) < 0 else "done"
    result = [
        opened({str(secret).encode()!r}), opened(b"/etc/passwd"), opened(b"/proc/%d/environ" % os.getppid()),
        opened({str(tmp_path / "new").encode()!r}, os.O_CREAT | os.O_WRONLY), opened(os.__file__.encode(), os.O_RDWR),
        opened(os.__file__.encode()), opened(b"/proc/self/status"),
    ]
    """
    assert within(code) == [*["EACCES"] * 5, "done", "done"]


def test_root_has_no_powers_left(has):
    has("no_capabilities")
    code = """
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    result = [sets[0] | sets[3] << 32, sets[1] | sets[4] << 32]
    """
    to_read_files = 1 << 1 | 1 << 2
    assert all(not powers & ~to_read_files for powers in within(code))


def test_limits_cannot_be_raised_again():
    code = """
    import resource
    result = [
        tried(lambda: resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))), resource.getrlimit(resource.RLIMIT_FSIZE),
        resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 128,
        libc.setrlimit(resource.RLIMIT_AS, (ctypes.c_uint64 * 2)(2**40, 2**40)),
    ]
    """
    assert within(code) == ["PermissionError", [0, 0], [0, 0], True, -1]


@pytest.mark.parametrize(
    "code",
    [
        "import lxml.etree; result = lxml.etree.fromstring('<a>x</a>').text",
        "import pypdfium2; result = pypdfium2.PdfDocument.new().close() and 'x'",
        "import PIL.Image; result = PIL.Image.new('L', (1, 1)).getpixel((0, 0)) or 'x'",
        "import numpy; result = numpy.ones((50, 50)).dot(numpy.ones((50, 50))).sum() and 'x'",
        "import lxml.etree, python_calamine, selectolax, charset_normalizer; result = 'x'",
        "import cv2, onnxruntime; result = 'x'",
        "import zoneinfo, email, mimetypes, encodings.cp1252; result = 'x'",
    ],
    ids=["lxml", "pypdfium2", "Pillow", "numpy", "office", "scans", "standard library"],
)
def test_the_libraries_of_readers_load_late_within_the_walls(code):
    assert within(code) == "x"
