"""The examples with the official client do what the README says of them, on a local instance, with nothing of ours installed."""

from __future__ import annotations

import ast
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import docs_run
from tests.docs_check import ROOT
from tests.stack import erase_stopped

EXAMPLES = ROOT / "examples"
SCRIPTS = ("service_openai.py", "submit_openai.py")
WITHOUT_US = """
import runpy, sys
sys.modules["orchestrator"] = sys.modules["workers"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script that finds nothing of ours, although this environment has it."""


@pytest.fixture(scope="module")
def up() -> Iterator[docs_run.Session]:
    """A shell beside an instance that was started as the example says, with the address and a key in its environment."""
    with tempfile.TemporaryDirectory(prefix="rs-") as folder:
        made = docs_run.new_session(Path(folder))
        command = (
            f"RIGHTSIZE_WEBHOOK_NETWORKS=127.0.0.0/8 rightsize up --port {docs_run.PORT} --data-dir {made.data_dir}"
        )
        try:
            with made.serving(command):
                made.script(
                    [
                        f"export OPENAI_BASE_URL=http://127.0.0.1:{docs_run.PORT}/v1",
                        "export OPENAI_API_KEY=$(rightsize keys create --name me)",
                    ]
                )
                (made.folder / "without_us.py").write_text(WITHOUT_US, "utf-8")
                yield made
        finally:
            erase_stopped(made.data_dir)


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_imports_the_official_client_and_nothing_else(name: str) -> None:
    tree = ast.parse((EXAMPLES / name).read_text("utf-8"))
    found = {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {one for one in found if one.partition(".")[0] not in sys.stdlib_module_names} == {"openai"}


def test_the_whole_service_is_walked_through_with_the_official_client_alone(up: docs_run.Session) -> None:
    told = up.script(["python -I without_us.py examples/service_openai.py"])
    lines = dict(line.split(": ", 1) for line in told.splitlines())
    assert list(lines) == ["estimate", "batch", "tiers", "webhook", "stream", "cancel", "retry"]
    assert re.fullmatch(r"\$[\d.]+ \(80%: \$[\d.]+ to \$[\d.]+\) for 10 rows", lines["estimate"])
    assert re.fullmatch(r"completed, 10 of 10, cost \$0\.9010*", lines["batch"])
    assert lines["tiers"] == "llm 8, rlm 1, slm 1"
    assert re.fullmatch(r"batch\.completed of batch_[0-9a-f]{32}", lines["webhook"])
    assert lines["stream"] == "'This answer is simulated: no model has r'"
    done = re.fullmatch(r"cancelled, (\d+) of 600 were done", lines["cancel"])
    assert done
    assert lines["retry"] == f"{600 - int(done[1])} on llm; both outputs have 600 rows"


def test_a_batch_is_handed_in_and_read_with_the_official_client_alone(up: docs_run.Session) -> None:
    body = {"messages": [{"role": "user", "content": "Where is my parcel?"}]}
    rows = [{"custom_id": f"{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(3)]
    (up.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    told = up.script(["python -I without_us.py examples/submit_openai.py rows.jsonl"])
    assert sorted(json.loads(line)["custom_id"] for line in told.splitlines()) == ["0", "1", "2"]
