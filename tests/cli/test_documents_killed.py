"""Everything killed in the middle of a folder of documents, and the same command once more: complete, and nothing paid twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Final

import psycopg

from orchestrator.local import instance, processes
from orchestrator.local.instance import Instance
from tests.cli.place import Place, json_lines
from tests.stack import until

DOCUMENTS: Final = 500
COMMAND: Final = ("submit", "docs", "--task", "classify", "--labels", "card,refund", "--wait", "--out", "out.jsonl")
CHARGED: Final = """
    SELECT count(*), count(DISTINCT j.document_hash) FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE t.kind = 'charge'
"""


def pids_of(attached: Instance) -> list[int]:
    """The supervisor and every process under it, the supervisor first: so nothing is stopped in order."""
    found, left = [], [attached.state.supervisor]
    while left:
        pid = left.pop()
        found.append(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children")
        left += [int(child) for child in children.read_text("ascii").split()] if children.exists() else []
    return found


def charged(attached: Instance) -> tuple[int, int]:
    """How many charges there are, and of how many documents."""
    with psycopg.connect(attached.database_url, autocommit=True) as connection:
        found = connection.execute(CHARGED).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def test_a_folder_of_500_documents_killed_in_the_middle_is_complete_and_paid_once(empty: Place) -> None:
    folder = empty.folder / "docs"
    folder.mkdir()
    for number in range(DOCUMENTS):
        (folder / f"{number:03}.txt").write_text(f"[[sleep:0.3]] Note {number}: where is my refund?", "utf-8")
    process = empty.start(*COMMAND)
    attached = until(lambda: instance.find(empty.data_dir), 120, "an instance runs")
    until(lambda: _some_are_charged(attached), 120, "a hundred are done")
    pids = pids_of(attached)
    os.killpg(process.pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # some end with their parent
            os.kill(pid, signal.SIGKILL)
    attached.close()
    process.communicate()
    until(lambda: all(processes.start_ticks(pid) is None for pid in pids), what="all are gone")

    again = empty.run(*COMMAND, "--data-dir", str(empty.data_dir))
    lines = json_lines((empty.folder / "out.jsonl").read_bytes())
    assert len(lines) == DOCUMENTS
    assert all(one["error"] is None for one in lines)
    assert "answered before" in again.stderr
    paid = json.loads(empty.run("cost", "--json").stdout)["total"]
    assert paid["jobs"] == DOCUMENTS


def _some_are_charged(attached: Instance) -> bool:
    try:
        charges, documents = charged(attached)
    except psycopg.Error:  # the tables are being made
        return False
    assert charges == documents
    return charges > DOCUMENTS // 5
