"""`rightsize bench` against a real instance: percentiles by tier, errors by code, and what there is at Ctrl-C."""

from __future__ import annotations

import orjson
import pytest

from orchestrator.local.state import read
from tests.cli.place import Place, interrupt, json_lines, said


def trace(place: Place, *rows: str) -> str:
    """A trace of such rows below the usual header."""
    path = place.folder / "trace.csv"
    path.write_text("arrival,input_tokens,output_tokens,tier\n" + "".join(f"{row}\n" for row in rows))
    return str(path)


def test_latencies_by_tier_throughput_and_cost_are_shown_and_each_request_is_written(place: Place) -> None:
    path = trace(place, *(f"{n * 0.02:.2f},{20 + n},8,{'rlm' if n % 4 == 0 else ''}" for n in range(20)), "bad,1,1,")
    done = place.run("bench", path, "--out", "requests.jsonl", "--json")
    found = orjson.loads(done.stdout)
    assert found["requests"] == {
        **found["requests"],
        "due": 20,
        "answered": 20,
        "failed": 0,
        "not_sent": 0,
        "unanswered": 0,
    }
    assert {tier: one["answered"] for tier, one in found["tiers"].items()} == {"llm": 15, "rlm": 5}
    assert 0 < found["latency_s"]["p50"] <= found["latency_s"]["p99"] <= found["latency_s"]["max"]
    assert "1 rows of the trace cannot be used and are left out; line 22: 'bad' is no time" in done.stderr
    lines = json_lines((place.folder / "requests.jsonl").read_bytes())
    assert [line["arrival_s"] for line in lines] == sorted(line["arrival_s"] for line in lines)
    assert {line["status"] for line in lines} == {200}
    assert all(abs(line["input_tokens"] - 30) < 25 for line in lines), "prompts are about as long as the trace says"
    shown = place.run("bench", path, "--limit", "5", "--tier", "mllm").stdout
    assert "p99" in shown
    assert "mllm" in shown
    assert "answers/s" in shown


def test_errors_are_counted_by_code_and_no_answer_at_all_is_a_failure(place: Place) -> None:
    path = trace(place, "0,10,8,slm", "0.01,10,8,slm", "0.02,10,8,")
    found = orjson.loads(place.run("bench", path, "--json").stdout)
    assert found["requests"]["failed"] == 2
    assert sum(found["errors"].values()) == 2
    assert found["tiers"]["slm"]["failed"] == 2
    told = place.run("bench", path, "--limit", "1", code=1).stderr
    assert "No request was answered" in told


def test_what_finds_so_many_outstanding_is_not_sent_and_said(place: Place) -> None:
    path = trace(place, *("0,2000,8,rlm" for _ in range(30)))
    done = place.run("bench", path, "--concurrency", "1", "--json")
    requests = orjson.loads(done.stdout)["requests"]
    assert requests["not_sent"] == 30 - requests["answered"] > 0


def test_a_whole_trace_as_one_batch_tells_when_each_tier_was_done(place: Place) -> None:
    path = trace(place, "0,20,8,", "1,20,8,rlm", "2,20,8,")
    found = orjson.loads(place.run("bench", path, "--batch", "--json").stdout)
    assert found["status"] == "completed"
    assert {tier: one["completed"] for tier, one in found["tiers"].items()} == {"llm": 2, "rlm": 1}
    assert all(0 < one["done_s"] <= found["total_s"] for one in found["tiers"].values())


def test_ctrl_c_shows_what_there_is_so_far(place: Place) -> None:
    path = trace(place, "0,20,8,", "1000,20,8,")
    process = place.start("bench", path)
    said(process, "outstanding")
    code, output, told = interrupt(process)
    assert code == 130
    assert "Interrupted after 1 of 2 requests." in told
    assert "p99" in output


@pytest.mark.parametrize(
    "words, code, why",
    [
        ("bench none.csv", 1, "There is no file none.csv"),
        ("bench none.csv --speed 0", 2, "--speed"),
        ("bench none.csv --batch --out x.jsonl", 2, "rightsize results"),
        ("bench none.csv --out - --json", 2, "give --out a file"),
    ],
)
def test_wrong_usage_is_refused_before_anything_starts(words: str, code: int, why: str, empty: Place) -> None:
    told = " ".join(empty.run(*words.split(), code=code).stderr.replace("│", "").split())
    assert why in told
    assert not empty.data_dir.exists()


def test_a_wrong_key_is_said_once_and_not_for_each_request(place: Place) -> None:
    path = trace(place, "0,20,8,", "0,20,8,")
    state = read(place.data_dir)
    assert state is not None
    told = place.run("bench", path, "--url", state.api_url, "--api-key", "rs_wrong", code=1).stderr
    assert told.count("error") == 1
