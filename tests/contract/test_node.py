"""The same calls from OpenAI's client for Node: installed into a folder of the test's own, unmodified."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving import Api

SCRIPT = Path(__file__).with_name("node")
INSTALL = ("install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--loglevel=error")
WITHIN_S = 180


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and the client that it needs."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not both installed: OpenAI's client for Node is NOT tested here")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "run.mjs"):
        shutil.copy(SCRIPT / name, folder / name)
    done = subprocess.run(
        [npm, *INSTALL], cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False, stdin=subprocess.DEVNULL
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot install OpenAI's client for Node, which is NOT tested here: {done.stderr[-500:]}")
    return folder


def test_openais_client_for_node_finds_all_that_it_looks_for(api: Api, installed: Path) -> None:
    env = {**os.environ, "OPENAI_BASE_URL": f"{api.url}/v1", "OPENAI_API_KEY": api.key}
    ran = subprocess.run(
        ["node", "run.mjs"], cwd=installed, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    held = [line for line in ran.stdout.splitlines() if line.startswith("holds: ")]
    assert ran.stdout.splitlines()[-1] == f"{len(held)} of {len(held)} hold"
    assert len(held) > 10
    print(ran.stdout)
