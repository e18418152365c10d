"""Advice and savings as the command line shows them, made from what the server gives."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.cli.advising import show_advice
from orchestrator.cli.reporting import show_savings
from orchestrator.rightsizing.advice.advise import advise
from orchestrator.rightsizing.advice.savings import savings
from orchestrator.rightsizing.evidence.facts import TaskFacts
from tests.rightsizing.made_facts import certified, on_the_reference, promoted


def shown(facts: TaskFacts, capsys: pytest.CaptureFixture[str]) -> str:
    show_advice(json.loads(json.dumps(advise(facts).as_dict())))
    return capsys.readouterr().out


def test_advice_shows_the_plane_and_the_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(certified(), capsys)
    assert "by agreement, 98% needed" in text
    assert "specialist, then big" in text
    assert "saves $1,068 a month ($1,040 to $1,097) against this period's mean, at today's volume" in text
    assert text.rstrip().endswith("promote triage --to shadow")


def test_what_is_done_already_and_what_costs_more_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "best cascade: specialist, then big, as it is done now, saves $" in shown(promoted(), capsys)
    assert "against all of it on the reference" in shown(promoted(), capsys)
    dear = shown(promoted(audits_right=1_000), capsys)
    assert "best single model: big, costs $" in dear
    assert "a month more than this period's mean" in dear
    assert "−" not in dear.split("best single model")[1].split("\n")[0]


def test_advice_not_to_move_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Do not move it: At 50 jobs a month" in shown(on_the_reference(50), capsys)


def test_a_name_in_square_brackets_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    facts = certified()
    named = replace(facts, reference="[red]", models=(replace(facts.models[0], model="[red]"), facts.models[1]))
    text = shown(named, capsys)
    assert "specialist, then [red]" in text
    assert "reference [red]" in text


def test_savings_show_sums_with_quality_and_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    bare = replace(on_the_reference(50), task="odd", models=())
    show_savings(json.loads(json.dumps(savings([promoted(), bare]).as_dict())))
    text = capsys.readouterr().out
    assert "triage: quality 99.3% (98.8% to 99.7%) by agreement, -1.2 to -0.3 points against the reference" in text
    assert "triage: its training, $2.00, is paid back after 57 jobs." in text
    assert "not known of odd" in text
    assert "$1,067" in text


def test_the_command_line_stays_light() -> None:
    code = "import sys, orchestrator.cli.advising, orchestrator.cli.reporting; sys.exit(any(m in sys.modules for m in ('numpy', 'scipy', 'sqlalchemy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
