"""The client stays light: any service can import it."""

from __future__ import annotations

import subprocess
import sys

from tests.stack import ROOT

HEAVY = (
    "sqlalchemy", "celery", "fastapi", "redis", "psycopg", "uvicorn", "orchestrator.store", "orchestrator.flow", "orchestrator.api",
    "orchestrator.documents", "pydantic",
)  # fmt: skip


def test_the_client_imports_nothing_of_the_server() -> None:
    code = f"import sys, orchestrator.client; sys.exit(', '.join(m for m in {HEAVY!r} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
