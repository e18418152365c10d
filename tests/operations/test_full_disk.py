"""What `docs/operations/full-disk.md` says of a full disk is so."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.stack import ROOT

MOUNTED = 'mount -t tmpfs -o size=300m,mode=711 none "$1" && exec "$0" -m tests.operations.full_disk "$1" "$2"'


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_f21_a_disk_that_fills_under_postgres_redis_and_blobs_refuses_for_now_and_loses_nothing(tmp_path: Path) -> None:
    # In a folder that the servers' account can pass through.
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        disk = Path(name) / "disk"
        disk.mkdir(mode=0o711)
        ended = subprocess.run(
            ["unshare", "-m", "sh", "-c", MOUNTED, sys.executable, str(disk), str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-8000:]
