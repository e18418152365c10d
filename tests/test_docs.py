"""The pages show what there is, and every command, every Python block and every configuration on them is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from orchestrator.contracts import Tier
from tests import docs_run
from tests.docs_check import Block, commands, fleet_shown, pages, problems, refusal, simple_commands, split

BLOCKS = [block for page in pages() for block in split(page)[0]]


def cases(blocks: list[Block]) -> pytest.MarkDecorator:
    """A page and a block of it for each block: pytest keeps the tests of one page together."""
    values = [pytest.param(block.page, block, id=f"{block.page.name}:{block.line}") for block in blocks]
    return pytest.mark.parametrize("session, block", values, indirect=["session"], scope="module")


@pytest.fixture(scope="module")
def up() -> Iterator[docs_run.Session]:
    with docs_run.rightsize_up() as made:
        yield made


@pytest.fixture(scope="module")
def session(
    up: docs_run.Session, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> docs_run.Session:
    """One for each page, all on one instance."""
    return docs_run.new_session(tmp_path_factory.mktemp(request.param.stem), beside=up)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_show_only_what_there_is(page: Path) -> None:
    from orchestrator.cli.app import app

    assert problems(page, get_command(app)) == []


@cases([block for block in BLOCKS if block.runs])
def test_shown_commands_run(session: docs_run.Session, block: Block) -> None:
    session.run(block)


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "toml"],
    ids=lambda block: f"{block.page.name}:{block.line}",
)
def test_shown_configurations_are_taken(block: Block) -> None:
    assert fleet_shown(block).models


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
        "```console\n$ rightsize a \\\n>   --b\nout put\n$ make c\n```\n\n<!-- not run: needs a GPU -->\n\n```bash\n# why\nd\n\ne \\\n  f\n```\n"
        "```python\nimport x\n```\n<!-- not run: of old -->\nprose between\n```sh\ng\n```\n```toml\nx = 1\n```\n"
        "<!-- runs until stopped -->\n```console\n$ h\n```\n",
    )
    console, script, python, *_, server = split(page)[0]
    assert [(shown.line, shown.text) for shown in commands(console)] == [(2, "rightsize a   --b"), (5, "make c")]
    assert [shown.text for shown in commands(script)] == ["d", "e   f"]
    assert commands(python) == []
    assert [block.runs for block in split(page)[0]] == [True, False, True, True, False, True]
    assert [console.serves, server.serves] == [False, True]


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


@pytest.mark.parametrize(
    "text",
    [
        "<!-- not run -->\n```console\n$ ls\n```\n",
        "<!-- not run:  -->\n```console\n$ ls\n```\n",
        "<!-- no run: needs a GPU -->\n```python\nx\n```\n",
        "```\n$ ls\n```\n",
        "```text\nrightsize status\n```\n",
        "\n    curl -f http://127.0.0.1/\n",
    ],
)
def test_no_command_escapes_without_a_reason(text: str, house: Path, sample: Any) -> None:
    assert [one for one in problems(write(house, text), sample, house) if "test" in one], text


@pytest.fixture
def alone(tmp_path: Path) -> docs_run.Session:
    """A session without an instance."""
    return docs_run.new_session(tmp_path)


def test_a_block_ends_at_the_first_failure_and_shows_it(alone: docs_run.Session) -> None:
    with pytest.raises(AssertionError, match=r"left with 3:(.|\n)*before"):
        alone.script(["echo before", "(exit 3) | cat", "touch after"])
    assert not (alone.folder / "after").exists()


def test_what_a_block_exports_the_next_one_has_and_ports_are_free_ones(alone: docs_run.Session) -> None:
    assert alone.script(["export WORD='two words'", "echo 18080 8080"]) == f"18080 {alone.ports['8080']}\n"
    assert alone.script(['echo "$WORD"', "ls examples/tickets.csv"]) == "two words\nexamples/tickets.csv\n"
    alone.run(Block(Path("page"), 1, "python", ("import os", "assert os.environ['WORD'] == 'two words'"), ""))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        alone.run(Block(Path("page"), 1, "python", ("1 / 0",), ""))


def test_a_server_that_leaves_by_itself_or_not_in_order_is_a_failure(alone: docs_run.Session) -> None:
    with pytest.raises(AssertionError, match=r"left with 7:\nwhy"), alone.serving("bash -c 'echo why; exit 7'"):
        pass
    rude = "bash -c 'trap \"exit 4\" INT; touch $RIGHTSIZE_READY_FILE; while :; do sleep 0.05; done'"
    with pytest.raises(AssertionError, match="left with 4 after Ctrl-C"), alone.serving(rude):
        pass
