"""What is learned does not hang on how a process hashes its texts, which differs from one to the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEARN = """
import hashlib, sys
from pathlib import Path
from orchestrator.rightsizing.router.fit import fit
from orchestrator.rightsizing.router.outcomes import text_hashes
from orchestrator.rightsizing.training.train import train
from tests.rightsizing import made_outcomes, made_tickets
asked = made_outcomes.made(300)
found = fit(asked, text_hashes(asked.prompts), None)
said = found.router.predict(made_outcomes.made(50, seed=4).prompts)
print(hashlib.sha256(found.cross.tobytes() + said.tobytes()).hexdigest())
print(train(*made_tickets.rows(), "tickets", Path(sys.argv[1])).model_sha256)
"""


def test_two_processes_learn_the_same_to_the_digit(tmp_path: Path) -> None:
    assert learned(tmp_path / "one", "1") == learned(tmp_path / "two", "2")


def learned(folder: Path, seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LEARN, str(folder)], env=env, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout
