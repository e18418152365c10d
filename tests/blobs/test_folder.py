"""What can go wrong with blobs in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.blobs import FolderBlobs
from orchestrator.errors import ServiceUnavailable
from tests.stack import ROOT


def test_a_sweep_leaves_a_writer_that_still_writes_alone(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with blobs.writing("inputs/a") as file:
        file.write(b"x")
        assert blobs.sweep(60) == 0
    assert blobs.get("inputs/a") == b"x"


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_f21_a_full_disk_is_said_and_leaves_no_half_blob(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.blobs import FolderBlobs\n"
        "from orchestrator.errors import ServiceUnavailable\n"
        "blobs = FolderBlobs(Path(sys.argv[1]))\n"
        "blobs.put('inputs/small', b'x')\n"
        "for _ in range(2):\n"
        "    try: blobs.put('inputs/large', b'x' * (8 << 20))\n"
        "    except ServiceUnavailable as error: print(error.message, error.retry_after_s)\n"
        "print([one.key for one in blobs.keys('inputs')], list(Path(sys.argv[1]).rglob('.writing-*')), blobs.free_bytes() > 2 << 20)\n"
    )
    command = 'mount -t tmpfs -o size=4m none "$1" && exec "$2" -c "$3" "$1"'
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", tmp_path, sys.executable, code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said, again, left = ended.stdout.splitlines()
    assert said == again == f"The disk that holds {tmp_path} is full. Free some space, then try again. 30.0"
    assert left == "['inputs/small'] [] True"


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file")
    blobs = FolderBlobs(tmp_path / "blobs")
    ways: list[Callable[[], object]] = [lambda: blobs.put("inputs/a", b"x"), blobs.check]
    for way in ways:
        with pytest.raises(ServiceUnavailable, match="Check that the folder exists"):
            way()
