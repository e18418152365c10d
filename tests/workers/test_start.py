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


def started(command: list[str], folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A worker that was started with these settings, once it has ended."""
    given = {f"RIGHTSIZE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "RIGHTSIZE_DATA_DIR": str(folder), **given},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [AS_CELERY, AS_RIGHTSIZE], ids=["celery", "rightsize"])
def test_a_worker_that_cannot_start_says_why_and_does_not_leave_with_0(
    command: list[str], empty_database: str, servers: Servers, tmp_path: Path
) -> None:
    done = started(command, tmp_path, database_url=empty_database, redis_url=servers.redis_url)
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
    database_url = servers.create_migrated(f"wrong_{len(command)}")
    done = started(command, tmp_path, database_url=database_url, redis_url=servers.redis_url, config=str(config))
    assert done.returncode == 78
    assert "nowhere.gguf" in done.stderr
    assert "Traceback" not in done.stderr
