"""Checks what README.md and docs/ show: commands, flags, make targets, paths and links are all there.

`make check` runs this file, quickly and without running anything; `tests/test_docs.py` runs every block of commands or
Python. A line directly before a block can say otherwise: `<!-- not run: WHY -->`, or `<!-- runs until stopped -->` for
commands that serve.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import typer.main

from orchestrator.contracts import Tier
from orchestrator.fleet import Fleet, parse

ROOT = Path(__file__).resolve().parents[1]

SHELLS = {"bash", "sh", "console"}
RUNNABLE = {*SHELLS, "python"}
NOT_RUN = re.compile(r"<!-- not run: (?P<why>\S.*\S) -->")
SERVES = "<!-- runs until stopped -->"
LOOKS_RUNNABLE = re.compile(r"(\$ |(\./|\.venv/bin/)?(rightsize|make|curl|docker|pip|python3?|git) )")
CONTROL = {"|", "||", "&&", ";", "&", "(", ")"}
PLACEHOLDER = re.compile(r"[*{}<>$]|\.\.\.|…|\b[A-Z][A-Z_]+\b")
FENCE = re.compile(r"^ {0,3}(?P<fence>```+|~~~+) *(?P<language>[\w-]*)")
NO_FENCE = "an indented command: put it into a ```console block, so that a test runs it"
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *#*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Of its opening fence, from 1."""
    language: str
    lines: tuple[str, ...]
    mark: str
    """The comment directly before it."""

    @property
    def runs(self) -> bool:
        """Whether a test runs it: all commands and all Python, unless the page says why not."""
        return self.language in RUNNABLE and not NOT_RUN.fullmatch(self.mark)

    @property
    def serves(self) -> bool:
        """Whether its commands run until they are stopped."""
        return self.mark == SERVES


@dataclass(frozen=True, slots=True)
class Shown:
    """One command as a page shows it."""

    line: int
    text: str


def pages(root: Path = ROOT) -> list[Path]:
    """The pages that people read."""
    shown = [root / "README.md", root / "examples/README.md", *sorted((root / "docs").rglob("*.md"))]
    return [page for page in shown if page.is_file()]


def split(page: Path) -> tuple[list[Block], list[tuple[int, str]]]:
    """A page's fenced blocks, and its prose as (line number, line)."""
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    fence, start, language, body = "", 0, "", list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                last = next((text for _, text in reversed(prose) if text.strip()), "")
                mark = last.strip() if last.strip().startswith("<!--") else ""
                blocks.append(Block(page, start, language, tuple(body), mark))
                prose.append((number, "```"))
                fence = ""
            else:
                body.append(line)
        elif found := FENCE.match(line):
            fence, start, language, body = found["fence"], number, found["language"], []
        else:
            prose.append((number, line))
    return blocks, prose


def commands(block: Block) -> list[Shown]:
    """The commands of a shell block: lines after `$ ` of a console, every line of a script but its comments."""
    if block.language not in SHELLS:
        return []
    found: list[Shown] = []
    pending, start = "", 0
    for number, line in enumerate(block.lines, block.line + 1):
        if block.language == "console" and not pending:
            if not line.startswith("$ "):
                continue
            text = line[2:]
        else:
            text = line.removeprefix("> ") if block.language == "console" else line
        start = start if pending else number
        pending += text.removesuffix("\\")
        if not text.endswith("\\"):
            if pending.strip() and not pending.lstrip().startswith("#"):
                found.append(Shown(start, pending.strip()))
            pending = ""
    return found


def fleet_shown(block: Block) -> Fleet:
    """The fleet of a block of TOML, which may show a part of one: its first model's tier is then the default."""
    data = tomllib.loads("\n".join(block.lines))
    tiers = [table.get("tier") for table in data.get("models", {}).values()]
    if Tier.LLM not in tiers and tiers:
        data.setdefault("policy", {}).setdefault("default_tier", tiers[0])
    return parse(data, f"{block.page.name}:{block.line}").fleet


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command of a line, without its environment and its redirections.

    Raises ValueError when a quote is left open.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.commenters = "#"
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if skip:
            skip = False
        elif word in CONTROL:
            if words:
                yield words
            words = []
        elif set(word) <= set("<>&") and word:
            skip = True
        elif words or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
            words.append(word)


def problems(page: Path, app: Any, root: Path = ROOT) -> list[str]:
    """What a page gets wrong, each as `page:line: what`; `app` is the click command of the command line."""
    blocks, prose = split(page)
    shown = [
        (command.line, fault)
        for block in blocks
        for command in commands(block)
        for fault in wrong(command.text, app, root)
    ]
    unclear = [(block.line, fault) for block in blocks for fault in unclear_marks(block)]
    unclear += [(number, NO_FENCE) for number, line in prose if re.match(rf" {{4,}}{LOOKS_RUNNABLE.pattern}", line)]
    links = [(number, fault) for number, line in prose for fault in broken_links(line, page, root)]
    stale = [(number, fault) for number, line in prose for fault in missing_paths(re.findall(r"`([^`]+)`", line), root)]
    where = page.relative_to(root)
    return [f"{where}:{number}: {fault}" for number, fault in sorted(shown + unclear + links + stale)]


def unclear_marks(block: Block) -> Iterator[str]:
    """Why it is not clear whether a block is run."""
    if block.language not in RUNNABLE:
        if any(LOOKS_RUNNABLE.match(line) for line in block.lines):
            yield f"commands in a block of {block.language or 'no language'}: call it console, so that a test runs them"
    elif block.mark and not block.serves and not NOT_RUN.fullmatch(block.mark):
        yield f"{block.mark} says nothing that a test knows: write <!-- not run: WHY --> or {SERVES}"


def wrong(text: str, app: Any, root: Path) -> Iterator[str]:
    """What is wrong with one shown command line."""
    try:
        parts = list(simple_commands(text))
    except ValueError as error:
        yield f"`{text}` is no shell command: {error}"
        return
    targets = make_targets(root)
    for words in parts:
        name, args = words[0], words[1:]
        if Path(name).name == "rightsize":
            yield from (f"`{text}`: {fault}" for fault in [refusal(app, args)] if fault)
        elif name == "make":
            unknown = [arg for arg in args if not arg.startswith("-") and "=" not in arg and arg not in targets]
            yield from (f"`{text}`: the Makefile has no target {target}" for target in unknown)
        yield from missing_paths(words, root)


def refusal(app: Any, args: Sequence[str]) -> str | None:
    """Why the command line would not take these arguments, or None. They are parsed, and nothing is run."""
    context, command, left = app.context_class(app, info_name="rightsize"), app, list(args)
    try:
        while hasattr(command, "get_command"):
            options, left, _ = command.make_parser(context).parse_args(left)
            if not left:
                return None if options.get("help") or command.invoke_without_command else "a command is missing"
            name, *left = left
            command = command.get_command(context, name)
            if command is None:
                return f"there is no command {context.command_path} {name}"
            context = command.context_class(command, info_name=name, parent=context)
        with contextlib.redirect_stdout(io.StringIO()):
            command.make_context(context.info_name, left, parent=context.parent)
    except typer.TyperException as error:
        return str(error)
    except typer.Exit:  # --help and its like print and leave
        return None
    return None


def make_targets(root: Path = ROOT) -> set[str]:
    """The targets that `make help` lists."""
    return set(re.findall(r"^([a-z]+):.*## ", (root / "Makefile").read_text("utf-8"), re.MULTILINE))


def missing_paths(words: Sequence[str], root: Path) -> Iterator[str]:
    """Which words name something in a folder of ours that is not there; placeholders are left alone."""
    ours = {folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    for word in words:
        path = word.split(":")[0].rstrip("/")
        made = path.split("/")[0] in {"build", "dist", "secrets"}
        if made or path.split("/")[0] not in ours or not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", path):
            continue
        if not PLACEHOLDER.search(path) and not (root / path).exists():
            yield f"there is no {path}"


def broken_links(line: str, page: Path, root: Path) -> Iterator[str]:
    """Which links of a line lead nowhere within the project."""
    for found in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
        target = found["target"]
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        if not aim.is_relative_to(root) or not aim.exists():
            yield f"the link to {target} leads nowhere"
        elif anchor and aim.suffix == ".md" and anchor not in anchors(aim):
            yield f"the link to {target} names no heading of {aim.name}"


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked to, as code hosts make them."""
    seen: dict[str, int] = {}
    names: set[str] = set()
    for _, line in split(page)[1]:
        if found := HEADING.match(line):
            plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found["title"]).lower())
            slug = plain.replace(" ", "-")
            names.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
            seen[slug] = seen.get(slug, 0) + 1
    return names


def main() -> int:
    """Print every problem; 1 when there is any."""
    from orchestrator.cli.app import app

    command = typer.main.get_command(app)
    found = [problem for page in pages() for problem in problems(page, command)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
