"""The file of the service's figures: an arm that is measured anew replaces its own rows, and no other's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import Row, Scale
from benchmarks.service.figures import Figures

ARMS = ("chat", "latency")
SCALE = Scale(quick=False, rounds=1)


def held(folder: Path) -> list[tuple[str, Any]]:
    return [(row["arm"], row["value"]) for row in json.loads((folder / "service.json").read_text("utf-8"))]


def test_an_arm_that_runs_alone_keeps_the_rows_of_the_others(tmp_path: Path) -> None:
    first = Figures.read(SCALE, ARMS, tmp_path)
    first.measured("chat", [Row("rate", 1.0, "1/s"), Row("p50", 2.0, "ms")], 3.0)
    first.measured("latency", [Row("p99", 4.0, "ms")], 5.0)
    again = Figures.read(SCALE, ARMS, tmp_path)
    again.measured("chat", [Row("rate", 9.0, "1/s")], 1.0)
    assert held(tmp_path) == [("chat", 9.0), ("latency", 4.0)]
    told = again.told(["chat"])
    assert "OLDER" not in told[0]
    assert "OLDER" in told[1]


def test_rows_that_do_not_say_when_they_were_measured_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "service.json").write_text(json.dumps([{"metric": "rate", "value": 1.0, "unit": "1/s"}]), "utf-8")
    found = Figures.read(SCALE, ARMS, tmp_path)
    found.measured("latency", [Row("p99", 4.0, "ms")], 5.0)
    assert held(tmp_path) == [("latency", 4.0)]
    assert found.told(["latency"])[0] == "chat: never measured"
