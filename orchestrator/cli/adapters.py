"""`rightsize models add ADAPTER --base NAME`: a LoRA adapter beside its base model in the rightsize.toml, checked before a byte is written."""

from __future__ import annotations

import functools
import inspect
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli import adapter_folder
from orchestrator.cli.adding import _alone, _key, _named, _text, _write
from orchestrator.cli.completing import model_names
from orchestrator.cli.display import note, out
from orchestrator.contracts import NAME
from orchestrator.errors import InvalidConfig, InvalidRequest
from orchestrator.fleet import Config, Model, parse

BESIDE: Final = frozenset({"weights", "name", "config"})
"""What `models add` takes of an adapter; the rest is its base model's."""
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="MODEL",
        help="PATH is a LoRA adapter, in PEFT's format, of this model of the fleet: no other option than --name and --config.",
        autocompletion=model_names,
        rich_help_panel="Adapter",
    ),
]


def with_base(add: Callable[..., None]) -> Callable[..., None]:
    """The command `models add` as it is for weights, and for an adapter where `--base` names the model that it belongs to."""
    own = inspect.signature(add, eval_str=True)

    @functools.wraps(add)
    def either(base: str | None = None, **given: Any) -> None:
        if base is None:
            if given["tier"] is None:
                raise typer.BadParameter("a model needs --tier, the tier that it serves; an adapter needs --base.")
            add(**given)
            return
        _refuse_beside(given)
        add_adapter(given["weights"], base, given["name"], given["config"])

    told = [_by_name(one) for one in own.parameters.values()]
    told.append(inspect.Parameter("base", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Base))
    either.__signature__ = own.replace(parameters=told)  # type: ignore[attr-defined]
    either.__annotations__ = {one.name: one.annotation for one in told}
    either.__doc__ = f"{inspect.getdoc(add)}\n  rightsize models add training/adapter --base house-llm --name support"
    return either


def add_adapter(weights: str, base: str, name: str | None, config: Path | None) -> None:
    """Put a LoRA adapter under its base model into the rightsize.toml; it is served from the next start on.

    Nothing is copied: the file names the folder. Raises InvalidRequest or InvalidConfig, and leaves the file as it was.
    """
    folder = Path(os.path.normpath(Path(weights).expanduser().absolute()))
    adapter = adapter_folder.read(folder)
    name = name or _named(str(folder))
    if not re.fullmatch(NAME, name):
        raise InvalidRequest(f"{name!r} can be no name. Take letters, digits, `.`, `_` and `-`, at most 63, as --name.")
    file = Path(config or os.environ.get("RIGHTSIZE_CONFIG") or "rightsize.toml").absolute()
    with _alone(file):
        text = _read(file)
        checked = parse(_toml(text, str(file)), str(file))
        model = _servable(checked, base, adapter, str(file))
        unsure = adapter_folder.check_fits(adapter, base, str(checked.placed(model).path))
        whole = with_adapter(text, str(file), base, name, str(folder))
        parse(_toml(whole, str(file)), str(file))
        _write(file, whole)
    told = f"Added the adapter {name} to {base} in {file}: rank {adapter.rank}, {len(adapter.modules)} layers."
    out.print(told, markup=False, soft_wrap=True)
    if unsure:
        note(unsure)
    note("What runs now keeps its fleet. Stop it and start it again, then: rightsize models check " + base)
    note('A request names it: {"rightsize": {"adapter": ' + _text(name) + "}}")


def with_adapter(text: str, source: str, base: str, name: str, folder: str) -> str:
    """The text of a rightsize.toml in which a model has one more adapter; no other byte of it changes.

    Raises InvalidConfig where the model has an adapter of that name, or its table is written in a way that has no place for a line.
    """
    wanted = _toml(text, source)
    held = wanted["models"][base].setdefault("adapters", {})
    if name in held:
        raise InvalidConfig(
            f"{base} has an adapter {name} already, {held[name]}. Give another --name, or change that line in {source}."
        )
    held[name] = folder
    line, header = f"{_key(name)} = {_text(folder)}", f"[models.{_key(base)}.adapters]"
    places = chain(_put(text, ("models", base, "adapters"), line), _put(text, ("models", base), f"{header}\n{line}"))
    made = next((one for one in places if _parsed(one) == wanted), None)
    if made is None:
        raise InvalidConfig(
            f"The table of {base} in {source} has no place for another line: write this in by hand: {header} {line}"
        )
    return made


def _put(text: str, table: tuple[str, ...], added: str) -> Iterator[str]:
    """The text with something behind the last entry of a table, before blank lines and comments that lead to the next one.

    A line that looks like the head of a table may be part of a long string: then there are several, of which the first that says
    what is wanted is the right one.
    """
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    heads = [(at, _header(line)) for at, line in enumerate(lines) if line.lstrip().startswith("[")]
    for start in (at for at, head in heads if head == table):
        for until in (*(at for at, head in heads if head and at > start), len(lines)):
            last = max((at for at in range(start + 1, until) if _says_something(lines[at])), default=start)
            before = [*lines[:last], lines[last].rstrip("\r\n") + end]
            yield "".join([*before, added.replace("\n", end) + end, *lines[last + 1 :]])


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _header(line: str) -> tuple[str, ...]:
    """The keys of a line that opens a table; empty for any other line."""
    at: Any = _parsed(line)
    keys: list[str] = []
    while isinstance(at, dict) and len(at) == 1:
        key, at = next(iter(at.items()))
        keys.append(key)
    return (*keys, "[]") if isinstance(at, list) else tuple(keys)


def _servable(config: Config, base: str, adapter: adapter_folder.Adapter, source: str) -> Model:
    """The base model, where it can serve this adapter; raises UnknownModel, InvalidRequest or InvalidConfig with the remedy."""
    model = config.fleet.named(base)
    if model.engine != "vllm":
        raise InvalidRequest(
            f"{base} runs in engine {model.engine}, and only vllm loads adapters. Give a model of that engine as --base."
        )
    if model.vllm.get("enable_lora", model.vllm.get("enable-lora")) is False:
        raise InvalidConfig(f"models.{base}.vllm turns enable_lora off in {source}. Take that line out first.")
    most = model.vllm.get("max_lora_rank", model.vllm.get("max-lora-rank"))
    if isinstance(most, int) and most < adapter.rank:
        raise InvalidConfig(
            f"{adapter.folder} has rank {adapter.rank}, and models.{base}.vllm.max_lora_rank is {most}. Take that line out of "
            f"{source}: it follows from the adapters."
        )
    return model


def _refuse_beside(given: Mapping[str, Any]) -> None:
    """Raise BadParameter for an option that an adapter has not: it would be dropped without a word."""
    for name, value in given.items():
        if name not in BESIDE and value not in (None, False):
            flag = f"--{name.removesuffix('_usd').replace('_', '-')}"
            raise typer.BadParameter(f"{flag} is the base model's business: leave it out beside --base.")


def _by_name(one: inspect.Parameter) -> inspect.Parameter:
    """A parameter that is given by its name; the tier may be left out, since an adapter has none of its own."""
    if one.name != "tier":
        return one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    kind: Any = one.annotation.__origin__
    told: tuple[Any, ...] = one.annotation.__metadata__
    return one.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, *told])


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InvalidConfig(
            f"There is no {file}, and so no model to add an adapter to. Add its base model first: rightsize models add PATH --tier llm"
        ) from None
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read ({error.strerror}). Mend that.") from None
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{file} is not UTF-8: {error}.") from None


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidConfig(f"{source} is not valid TOML: {error}.") from None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
