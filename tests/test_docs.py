"""The pages show what there is, and the commands that they show run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from orchestrator.contracts import Tier
from tests.docs_check import Block, commands, pages, problems, refusal, run_block, simple_commands, split

RUN = [block for page in pages() for block in split(page)[0] if block.runs]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_show_only_what_there_is(page: Path) -> None:
    from orchestrator.cli.app import app

    assert problems(page, get_command(app)) == []


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{block.page.name}:{block.line}")
def test_shown_commands_run(block: Block, instance: Any) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run_block([command.text for command in commands(block)], {**os.environ, **instance.environment, "PATH": path})


# From here on: the checker itself, on sample pages.


@pytest.fixture
def sample() -> Any:
    app = typer.Typer()

    @app.callback()
    def root(data_dir: str = "") -> None: ...

    @app.command()
    def submit(
        path: str,
        tier: Annotated[Tier, typer.Option("--tier")] = Tier.LLM,
        wait: Annotated[bool, typer.Option("--wait")] = False,
    ) -> None:
        raise AssertionError("the checker runs nothing")

    return get_command(app)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/tickets.csv").touch()
    (tmp_path / "Makefile").write_text("demo: x ## Run\nhidden:\n")
    return tmp_path


def write(house: Path, text: str, name: str = "README.md") -> Path:
    page = house / name
    page.write_text(text)
    return page


def test_console_blocks_give_their_prompts_and_scripts_all_lines(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        "```console\n$ rightsize a \\\n>   --b\nout put\n$ make c\n```\n\n<!-- run -->\n\n```bash\n# why\nd\n\ne \\\n  f\n```\n"
        "```python\nimport x\n```\n<!-- run -->\nprose between\n```sh\ng\n```\n",
    )
    console, script, python, late = split(page)[0]
    assert [(shown.line, shown.text) for shown in commands(console)] == [(2, "rightsize a   --b"), (5, "make c")]
    assert [shown.text for shown in commands(script)] == ["d", "e   f"]
    assert commands(python) == []
    assert [console.runs, script.runs, python.runs, late.runs] == [False, True, False, False]


def test_lines_are_taken_apart_as_a_shell_would() -> None:
    line = "A=1 rightsize x --y 'a b' > out.txt 2>&1 && make z | head -1 # note"
    assert list(simple_commands(line)) == [["rightsize", "x", "--y", "a b", "2"], ["make", "z"], ["head", "-1"]]


@pytest.mark.parametrize(
    "args, fault",
    [
        ("submit docs --tier slm --wait", None),
        ("--data-dir x submit -", None),
        ("submit --help", None),
        ("--help", None),
        ("submti docs", "no command rightsize submti"),
        ("submit docs --weit", "--weit"),
        ("submit docs --tier huge", "huge"),
        ("submit docs more", "(more)"),
        ("submit docs --tier", "--tier"),
        ("submit", "Missing parameter: path"),
        ("", "a command is missing"),
    ],
)
def test_commands_are_parsed_but_never_run(args: str, fault: str | None, sample: Any) -> None:
    found = refusal(sample, args.split())
    assert (found is None) == (fault is None), found
    assert fault is None or fault in (found or "")


def test_pages_that_hold_together_have_no_problems(house: Path, sample: Any) -> None:
    write(house, "# One thing\n## One thing\n", "docs/other.md")
    page = write(
        house,
        "# Top: `x` & y\nSee [it](docs/other.md#one-thing-1), [there](docs/), [up](#top-x--y), [web](https://example.org/x),\n"
        "`examples/tickets.csv`, `docs/NAME.md`, `build/x/y.json`.\n\n"
        "```bash\nmake -j2 demo PYTHON=python3\nrightsize submit examples/tickets.csv --wait\n```\n",
    )
    assert problems(page, sample, house) == []


def test_every_kind_of_problem_is_told_with_its_line(house: Path, sample: Any) -> None:
    write(house, "# One thing\n", "docs/other.md")
    page = write(
        house,
        "[a](docs/gone.md) [b](docs/other.md#two) [c](../outside.md)\n`examples/gone.csv`\n"
        "```console\n$ make hidden\n$ rightsize nope\n$ cat docs/gone.txt\n$ echo 'open\n```\n",
    )
    assert [problem.partition(": ")[0] for problem in problems(page, sample, house)] == [
        *["README.md:1"] * 3,
        "README.md:2",
        *[f"README.md:{line}" for line in (4, 5, 6, 7)],
    ]


def test_a_block_runs_as_one_script_and_ends_at_the_first_failure(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "WORD": "here"}
    assert run_block(["there=$WORD", "echo $there"], environment, cwd=tmp_path) == "here\n"
    with pytest.raises(AssertionError, match=r"left with 3:(.|\n)*before"):
        run_block(["echo before", "(exit 3) | cat", "touch after"], environment, cwd=tmp_path)
    assert not (tmp_path / "after").exists()
