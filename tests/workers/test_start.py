"""How a worker process ends that cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Servers

AS_CELERY = ["-m", "celery", "-A", "workers.app", "worker", "-Q", "rightsize.llm"]
AS_RIGHTSIZE = ["-m", "orchestrator.cli", "worker", "--tier", "llm"]


@pytest.mark.parametrize("command", [AS_CELERY, AS_RIGHTSIZE], ids=["celery", "rightsize"])
def test_a_worker_that_cannot_start_says_why_and_does_not_leave_with_0(
    command: list[str], empty_database: str, servers: Servers, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "RIGHTSIZE_DATABASE_URL": empty_database,
        "RIGHTSIZE_REDIS_URL": servers.redis_url,
        "RIGHTSIZE_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "rightsize migrate" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
