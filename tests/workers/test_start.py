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


WRONG = """
[policy]
default_tier = "llm"
[models.small]
tier = "llm"
engine = "llamacpp"
path = "nowhere.gguf"
[[models.small.rates]]
input = "1"
"""


@pytest.mark.parametrize("command", [[*AS_CELERY[:-1], "rightsize.llm"], AS_RIGHTSIZE], ids=["celery", "rightsize"])
def test_a_worker_whose_configuration_is_wrong_says_why_and_leaves_with_a_code_of_its_own(
    command: list[str], servers: Servers, tmp_path: Path
) -> None:
    config = tmp_path / "rightsize.toml"
    config.write_text(WRONG)
    environment = {
        **os.environ,
        "RIGHTSIZE_DATABASE_URL": servers.create_migrated(f"wrong_{len(command)}"),
        "RIGHTSIZE_REDIS_URL": servers.redis_url,
        "RIGHTSIZE_DATA_DIR": str(tmp_path),
        "RIGHTSIZE_CONFIG": str(config),
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
    assert done.returncode == 78
    assert "nowhere.gguf" in done.stderr
    assert "Traceback" not in done.stderr
