"""`rightsize models add`: a table for a model in the rightsize.toml, checked as a whole before a byte of it is written."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator.cli.connect import server_command
from orchestrator.cli.display import note, out
from orchestrator.cli.options import Config
from orchestrator.contracts import NAME, Tier
from orchestrator.errors import InvalidConfig, InvalidRequest
from orchestrator.fleet import Fleet, parse

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MAGIC: Final = b"GGUF"
_LLAMA_SLOTS: Final = 4


class AddEngine(StrEnum):
    """The engines that load weights themselves."""

    LLAMACPP = "llamacpp"
    VLLM = "vllm"


def _amount(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{1,7}(\.\d{1,12})?", value):
        raise typer.BadParameter(f"{value!r}: give US dollars such as 0.15.")
    return value


def _price(flag: str, help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        flag, metavar="USD", help=help_text, callback=_amount, rich_help_panel="Price"
    )
    return option


def add(
    weights: Annotated[
        str,
        typer.Argument(metavar="PATH|HUB_ID", help="A .gguf file, a folder with config.json, or ORG/NAME on a hub."),
    ],
    tier: Annotated[Tier, typer.Option("--tier", help="The tier that it serves.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Its name in the fleet (default: made of the path).")
    ] = None,
    engine: Annotated[
        AddEngine | None, typer.Option("--engine", help="What runs it (default: llamacpp for a .gguf file, else vllm).")
    ] = None,
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, max=4096, help="How many requests run at once.")
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Jobs of the tier go to it, where they name no model.")
    ] = False,
    input_usd: Annotated[str | None, _price("--input", "Of a million input tokens.")] = None,
    output_usd: Annotated[str | None, _price("--output", "Of a million output tokens.")] = None,
    usd_per_hour: Annotated[
        str | None, _price("--usd-per-hour", "Of an hour of the machine, beside the prices of tokens.")
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="Says that a job costs nothing.", rich_help_panel="Price")
    ] = False,
    config: Config = None,
) -> None:
    """Put a model into the rightsize.toml. It runs from the next start on.

    Without a rightsize.toml one is made of the sample fleet, in the current folder or at --config. Weights on this machine are
    looked at: a file that is not whole is refused, and how much of a request they hold is written down.

    Examples:
      rightsize models add smollm2.gguf --tier slm --free
      rightsize models add Qwen/Qwen3-8B --tier llm --input 0.15 --output 0.60
    """
    rates = _rates(input_usd, output_usd, usd_per_hour, free=free)
    place, runs_on = _found(weights, engine)
    name = name or _named(place)
    if not re.fullmatch(NAME, name):
        raise InvalidRequest(f"{name!r} can be no name. Take letters, digits, `.`, `_` and `-`, at most 63, as --name.")
    limits = server_command("weights_limits")(Path(place)) if Path(place).exists() else {}
    lines = [f"[models.{_key(name)}]", f'tier = "{tier}"', f'engine = "{runs_on}"', f"path = {_text(place)}"]
    if slots is not None or runs_on is AddEngine.LLAMACPP:
        lines.append(f"slots = {slots or _LLAMA_SLOTS}")
    lines += [f"{key} = {value}" for key, value in limits.items()]
    lines += ["default = true"] * default + ["free = true"] * free
    lines += [f"[[models.{_key(name)}.rates]]", f"from = {datetime.now(UTC).date()}", *rates]
    file = Path(config or os.environ.get("RIGHTSIZE_CONFIG") or "rightsize.toml").absolute()
    with _alone(file):
        fleet = _put(file, name, tier, lines, default=default)
    out.print(f"Added {name} to {file}: {tier}, {runs_on}.", markup=False, soft_wrap=True)
    if limits:
        _tell_limits(limits, runs_on)
    if not fleet.is_default(fleet.by_name[name]):
        note(f"Jobs of tier {tier} go to {fleet.of_tier(tier)[0].name}: name {name} as `model`, or move `default`.")
    note("What runs now keeps its fleet. Stop it and start it again, then: rightsize models check " + name)


def _tell_limits(limits: dict[str, int], runs_on: AddEngine) -> None:
    note(
        f"A request may have {limits['max_input_tokens']:,} tokens and its answer {limits['max_output_tokens']:,}: "
        f"change max_input_tokens and max_output_tokens there{_more_context(runs_on)} for others."
    )


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keep others who add a model out from reading the file until it is written: one of the two would be lost."""
    import fcntl  # not on Windows, where only a remote service is reached

    folder = os.open(file.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _put(file: Path, name: str, tier: Tier, lines: Sequence[str], *, default: bool) -> Fleet:
    """The fleet with another model, once it is checked as a whole and written."""
    text, source = _text_of(file), str(file)
    if name in _tables(text, source):
        raise InvalidConfig(f"{source} has a model {name} already. Give another --name, or change its table there.")
    whole = text.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
    if default:
        _refuse_second_default(text, source, tier)
    checked = parse(_toml(whole, source), source)
    if not file.is_file():
        note(
            f"There was no {source}: it is made of the sample fleet, whose large models are simulated. Replace them there."
        )
    _write(file, whole)
    return checked.fleet


def _more_context(runs_on: AddEngine) -> str:
    return ", and llamacpp.context_per_slot to their sum," if runs_on is AddEngine.LLAMACPP else ""


def _refuse_second_default(text: str, source: str, tier: Tier) -> None:
    """Raise InvalidConfig where a tier has its default model: which jobs move to another one is for a person to say."""
    for name, table in _tables(text, source).items():
        if isinstance(table, dict) and table.get("tier") == tier and table.get("default"):
            raise InvalidConfig(
                f"Tier {tier} has a default model, {name}. Take `default = true` out of [models.{name}] in {source} first, "
                "or leave --default out."
            )


def _rates(input_usd: str | None, output_usd: str | None, usd_per_hour: str | None, *, free: bool) -> list[str]:
    given = {"input": input_usd, "output": output_usd, "usd_per_hour": usd_per_hour}
    rates = [f'{key} = "{amount}"' for key, amount in given.items() if amount is not None]
    if (input_usd is None) != (output_usd is None):
        raise InvalidRequest(
            "Give --input and --output together: a token that is read and one that is written have prices."
        )
    if not rates and not free:
        raise InvalidRequest("What does it cost? Give --input and --output, or --free if it costs nothing.")
    if usd_per_hour is not None and input_usd is None and not free:
        raise InvalidRequest(
            "An hour's price alone would make a job cost $0. Give --input and --output beside it, or --free for now: "
            "`rightsize models check NAME --write` measures prices that earn the hour."
        )
    if free and input_usd is not None:
        raise InvalidRequest("--free and prices of tokens exclude each other: keep one.")
    return rates


def _found(weights: str, engine: AddEngine | None) -> tuple[str, AddEngine]:
    """The absolute path or the hub's id, and what runs it; raises InvalidRequest with a remedy."""
    path = Path(weights).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidRequest(f"{path} holds no config.json: give a model's own folder, or a .gguf file.")
        kind = AddEngine.VLLM
    elif path.is_file():
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise InvalidRequest(f"{path} is no GGUF file. Give a .gguf file, or a folder with config.json.")
        kind = AddEngine.LLAMACPP
    elif HUB_ID.fullmatch(weights) and not weights.endswith(".gguf"):
        kind = AddEngine.VLLM
    else:
        raise InvalidRequest(
            f"There is no {weights}. Give a .gguf file, a folder with config.json, or ORG/NAME on a hub."
        )
    if engine is not None and engine is not kind:
        reads = "a .gguf file" if engine is AddEngine.LLAMACPP else "a folder with config.json or ORG/NAME on a hub"
        raise InvalidRequest(f"{engine} takes {reads}, and {weights} is none. Leave --engine out.")
    return (os.path.normpath(path.absolute()) if path.exists() else weights), kind  # a link stays a link


def _named(place: str) -> str:
    stem = Path(place).name.removesuffix(".gguf").lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:63]


def _text_of(file: Path) -> str:
    """What the file says; the sample where it is yet to be made."""
    if not file.exists():
        return resources.files("orchestrator").joinpath("sample.toml").read_text("utf-8")
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{file} is not UTF-8: {error}.") from None


def _tables(text: str, source: str) -> dict[str, object]:
    """The tables of the models by their names, unchecked."""
    tables = _toml(text, source).get("models", {})
    return tables if isinstance(tables, dict) else {}


def _toml(text: str, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{source} is not valid TOML: {error}.") from None


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write(file: Path, text: str) -> None:
    """Whole or not at all: whoever reads the file meanwhile finds the old one."""
    target = file.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    handle, new = tempfile.mkstemp(prefix=".rightsize-", suffix=".toml", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as content:
            content.write(text)
        Path(new).chmod(mode)
        Path(new).replace(target)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
