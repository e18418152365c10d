"""Load traces as they are found: other names, other units, bad rows, hostile files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.bench import trace
from orchestrator.bench.trace import Arrival, read_trace
from orchestrator.contracts import Tier
from orchestrator.errors import InvalidRequest


def read(tmp_path: Path, text: str | bytes, limit: int | None = None) -> trace.Trace:
    path = tmp_path / "trace.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_trace(path, limit)


@pytest.mark.parametrize(
    "text",
    [
        "arrival,input_tokens,output_tokens\n5,374,44\n9.5,396,109\n",
        "5,374,44\n9.5,396,109\n",
        "\ufeffarrival_s;Input Tokens;Output Tokens\r\n5;374;44\r\n9.5;396;109\r\n",
        "arrival_ms\tinput_length\toutput_length\n5000\t374\t44\n9500\t396\t109\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:05.0000000,374,44\n2023-11-16 18:15:09.5000000,396,109\n",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens\n5,x,374,44,418\n9.5,y,396,109,505\n",
        "arrived_at,num_prefill_tokens,num_decode_tokens\n2026-01-01T00:00:05Z,374,44\n2026-01-01T02:00:09.5+02:00,396,109\n",
        "arrival,input,output\n9.5,396,109\n5,374,44\n",
    ],
)
def test_traces_are_read_whatever_they_call_things(text: str, tmp_path: Path) -> None:
    found = read(tmp_path, text)
    assert found.arrivals == (Arrival(0.0, 374, 44), Arrival(4.5, 396, 109))
    assert (found.unfit, found.seconds) == (0, 4.5)


def test_a_tier_column_and_a_limit_are_heeded(tmp_path: Path) -> None:
    text = "arrival,input,output,tier\n0,1,0,slm\n1,1,1,\n2,1,1,auto\n3,1,1,rlm\n"
    assert [one.tier for one in read(tmp_path, text, 2).arrivals] == [Tier.SLM, None]
    assert read(tmp_path, text).arrivals[0].output_tokens == 1, "no request asks for nothing"


@pytest.mark.parametrize(
    "row, why",
    [
        ("x,1,1", "'x' is no time"),
        ("nan,1,1", "is no time"),
        ("1,-1,1", "'-1' input tokens"),
        ("1,1.5,1", "'1.5' input tokens"),
        ("1,1,1e9", "'1e9' output tokens"),
        ("1,9999999,1", "up to 200,000"),
        ("1,1", "it has 2 columns"),
        ("1,1,1,huge", "is no tier"),
        ('1,"1,1', "columns"),
        ("1" * 100_000, "bytes long"),
    ],
)
def test_bad_rows_are_left_out_counted_and_the_first_is_explained(row: str, why: str, tmp_path: Path) -> None:
    found = read(tmp_path, f"arrival,input,output,tier\n0,10,10,\n{row}\n\n2,x,1,\n3,10,10,llm\n")
    assert [one.at_s for one in found.arrivals] == [0.0, 3.0]
    assert found.unfit == 2
    assert found.problem.startswith("line 3: ")
    assert why in found.problem


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "no column for arrival, input, output. It has: a, b"),
        ("arrival,input,output\n", "none below its header"),
        ("arrival,input,output\nx,y,z\n", "line 2: 'x' is no time"),
        (b"\xff\xfe\x00\x00\x81", "no column"),
    ],
)
def test_files_that_are_no_trace_are_refused_with_the_reason(text: str | bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(tmp_path, text)
    assert why in raised.value.message


def test_a_pipe_a_folder_and_a_huge_file_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(trace.MAX_FILE_BYTES + 1)
    for name, why in {"pipe": "pipe", "huge": "over 1024 MiB", "gone": "gone", ".": "folder"}.items():
        with pytest.raises(InvalidRequest, match=why):
            read_trace(tmp_path / name)
