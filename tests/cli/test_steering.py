"""What was handed in is paused, resumed, retried and cancelled, and every command says how to go on."""

from __future__ import annotations

import orjson

from orchestrator.client import Rightsize
from orchestrator.local import state
from tests.cli.place import Place, json_lines, said
from tests.stack import chat, row, until

SLOW = "[[sleep:600]]"


def submitted(place: Place, *texts: str, options: tuple[str, ...] = ()) -> str:
    place.rows("slow.jsonl", *texts)
    return str(orjson.loads(place.run("submit", "slow.jsonl", "--json", *options).stdout)["id"])


def failing(place: Place) -> str:
    """The id of an ended batch of which two rows failed on llm."""
    path = place.folder / "failing.jsonl"
    bodies = [chat("One"), chat("[[fail:400]] Two", model="fast"), chat("[[fail:500]] Three", model="fast")]
    path.write_bytes(b"".join(orjson.dumps(row(f"row-{n}", body)) + b"\n" for n, body in enumerate(bodies)))
    return str(orjson.loads(place.run("submit", str(path), "--wait", "--json").stdout)["id"])


def test_a_batch_is_paused_and_resumed_and_status_says_how(place: Place) -> None:
    batch = submitted(place, SLOW, options=("--max-cost-usd", "5"))
    until(lambda: "in_progress" in place.run("status", batch).stdout, 30, "it runs")
    told = place.run("pause", batch).stdout
    assert f"It is paused. Go on with it: rightsize resume {batch}" in told
    assert f"rightsize resume {batch}" in place.run("status", batch).stdout
    found = orjson.loads(place.run("resume", batch, "--max-cost-usd", "7.5", "--json").stdout)
    assert (found["rightsize"]["paused"], found["rightsize"]["max_cost_usd"]) == (None, "7.500000000000")
    place.run("cancel", batch)
    assert "cannot" in place.run("pause", batch, code=1).stderr or "ended" in place.run("pause", batch, code=1).stderr
    place.run("pause", "batch_1", code=1)


def test_who_follows_a_paused_batch_is_told_and_sees_it_go_on(place: Place) -> None:
    path = place.folder / "many.jsonl"
    rows = (row(f"row-{n}", chat(f"[[sleep:0.5]] {n}", model="thinker")) for n in range(400))
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in rows))
    batch = orjson.loads(place.run("submit", str(path), "--json").stdout)["id"]
    until(lambda: "in_progress" in place.run("status", batch).stdout, 30, "it runs")
    process = place.start("status", batch, "--wait")
    said(process, "in_progress")
    place.run("pause", batch)
    assert f"rightsize resume {batch}" in said(process, "It is paused.")
    place.run("resume", batch)
    place.run("cancel", batch)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "cancelled" in output


def test_failed_rows_run_again_and_the_results_are_those_of_both_batches(place: Place) -> None:
    first = failing(place)
    done = place.run("retry", first, "--wait", "--out", "all.jsonl", "--strict", code=3)
    assert f"It runs failed rows of {first} again" in done.stdout
    lines = json_lines((place.folder / "all.jsonl").read_text())
    assert {line["custom_id"] for line in lines} == {"row-0", "row-1", "row-2"}
    assert {line["rightsize"]["tier"] for line in lines if line["error"]} == {"rlm"}
    made = orjson.loads(place.run("retry", first, "--only", "bad_request", "--tier", "llm", "--json").stdout)
    assert made["rightsize"]["retry_of"] == first
    place.run("status", made["id"], "--wait")
    merged = json_lines(place.run("results", made["id"]).stdout)
    assert {line["custom_id"] for line in merged} == {"row-0", "row-1"}


def test_a_retry_that_cannot_be_is_refused_with_a_remedy(place: Place) -> None:
    good = place.batch("One")
    assert "No row of the batch failed" in place.run("retry", good, code=1).stderr
    assert "--out needs --wait" in place.run("retry", good, "--out", "x.jsonl", code=2).stderr
    assert "--tier" in place.run("retry", good, "--tier", "huge", code=2).stderr
    running = submitted(place, SLOW)
    until(lambda: "in_progress" in place.run("status", running).stdout, 30, "it runs")
    assert "when it has ended" in place.run("retry", running, code=1).stderr
    place.run("cancel", running)


def test_a_job_is_shown_and_waited_for_with_its_exit_code(place: Place) -> None:
    place.rows("one.jsonl", "Where is my order?", "[[fail:400]]")
    lines = json_lines(place.run("submit", "one.jsonl", "--wait", "--out", "-").stdout)
    good, bad = (line["id"].replace("batch_req_", "job_") for line in lines)
    told = place.run("job", good).stdout
    assert f"{good}  succeeded" in told
    assert "fast" in told
    assert '"choices"' in told
    assert "bad_request" in place.run("job", bad).stderr
    assert "bad_request" in place.run("job", bad, "--wait", code=4).stderr
    assert orjson.loads(place.run("job", good, "--wait", "--json").stdout)["result"]["choices"]
    assert "no job" in place.run("job", f"job_{'0' * 32}", code=1).stderr


def test_a_batch_whose_file_was_wrong_is_not_waited_for_but_handed_in_again(place: Place) -> None:
    place.run("status")
    found = state.read(place.data_dir)
    assert found is not None
    with Rightsize(found.api_url, found.api_key) as client:
        batch = client.submit([row("row-0", {"model": "auto"})], on_invalid_row="fail").id
    until(lambda: "failed" in place.run("status", batch).stdout.split()[:2], 30, "it has failed")
    told = place.run("results", batch, code=1).stderr
    assert f"See its errors: rightsize status {batch}" in told
    assert "rightsize submit" in told
    assert "--wait" not in told
    told = place.run("retry", batch, code=1).stderr
    assert "none of its rows ran" in told
    assert "submit it again" in told
