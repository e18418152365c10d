"""OpenAI's own clients against the API: how many of the contract's tests pass, for Python in both of its forms and for Node."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import openai

from benchmarks.report import Row, Scale, at_least, at_most
from benchmarks.stack import ROOT

TESTS: Final = "tests/contract"
NODE: Final = f"{TESTS}/test_node.py"
ELSEWHERE: Final = f"{TESTS}/test_schemathesis.py"
"""Which is an arm of its own."""
LEAST: Final = 50
"""Tests that there must be: none that ran is no pass."""
WITHIN_S: Final = 600.0
HELD: Final = re.compile(r"^(\d+) of (\d+) hold$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of some tests came to."""

    passed: int
    not_passed: list[str]
    """Names of those that failed."""
    skipped: list[str]
    """Why some did not run."""
    output: str


def measure(_: Scale) -> list[Row]:
    python = _run(TESTS, f"--ignore={NODE}", f"--ignore={ELSEWHERE}")
    node = _run(NODE, "-rP")
    return rows(python, node)


def rows(python: Result, node: Result) -> list[Row]:
    for one in (python, node):
        if one.not_passed:
            sys.stderr.write(one.output[-8_000:])
    held = HELD.search(node.output)
    calls = f"{held[1]} of {held[2]} things that it looked for hold" if held else "; ".join(node.skipped)
    return [
        at_least(f"contract tests that pass, openai {openai.__version__} for Python", python.passed, LEAST, "tests",
                 note="; ".join(python.skipped)),
        at_most("contract tests that fail, Python", len(python.not_passed), 0, "tests", note="; ".join(python.not_passed[:5])),
        at_most("contract tests that fail, Node", len(node.not_passed), 0, "tests", note="; ".join(node.not_passed[:5]))
        if node.passed or node.not_passed
        else Row("contract tests that fail, Node", 0, "tests", note=f"NOT measured: {calls}"),
        at_least("contract of the client for Node", int(held[1]) if held else 0, 10, "checks", note=calls)
        if node.passed
        else Row("contract of the client for Node", 0, "checks", note=f"NOT measured: {calls}"),
    ]  # fmt: skip


def _run(*words: str) -> Result:
    """Run some tests to their end."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *words, f"--junitxml={report}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        output = done.stdout + done.stderr
        if not report.is_file():
            raise RuntimeError(f"pytest ended with {done.returncode} before it reported:\n{output[-4_000:]}")
        return _read(report, output)


def _read(report: Path, output: str) -> Result:
    failed, skipped, cases = list[str](), list[str](), list(ET.parse(report).iter("testcase"))
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname')}.{case.get('name')}")
        elif (left_out := case.find("skipped")) is not None:
            skipped.append(str(left_out.get("message")))
    return Result(len(cases) - len(set(failed)) - len(skipped), failed, skipped, output)
