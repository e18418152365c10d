"""`rightsize tasks`: named kinds of work, in versions, from files that people keep."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.again import again
from orchestrator.cli.command import Command
from orchestrator.cli.connect import connected
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Task, Url, json_flag, place
from orchestrator.cli.saving import STANDARD, check_target
from orchestrator.documents.definitions import definition_in

app = typer.Typer(no_args_is_help=True, help="Tasks: named kinds of work on documents, in versions.")
VERSION_SHAPE = "`name`, `version`, `digest`, `built_in`, `definition`"
Version = Annotated[int | None, typer.Option("--version", min=1, help="Which version; the latest without.")]
FileOf = Annotated[Path, typer.Argument(metavar="FILE.toml|.yaml", parser=place, help="The task's file.")]


@app.command("create", cls=Command)
def create(
    file: FileOf,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"{VERSION_SHAPE}, `created`")] = False,
) -> None:
    """Define a task from a file, or edit one: what differs is its next version, and old results keep theirs.

    Example:
      rightsize tasks create invoices.toml
    """
    definition = definition_in(file)
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.define_task(definition)
    if as_json:
        print_json(made)
        return
    out.print(f"{made['name']} version {made['version']}")
    note(
        f"Use it: {again('submit FOLDER --task ' + str(made['name']))}"
        if made["created"]
        else "It was defined so already."
    )


@app.command("import", cls=Command)
def import_(
    file: FileOf,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"{VERSION_SHAPE}, `created`")] = False,
) -> None:
    """Define a task from a file that `rightsize tasks export` wrote, here or elsewhere: the same as `create`."""
    create(file, url, api_key, data_dir, config, as_json)


@app.command("list", cls=Command)
def list_tasks(
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"a list with {VERSION_SHAPE}")] = False,
) -> None:
    """List the tasks, yours and those that come with Rightsize."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.tasks()
    if as_json:
        print_json(found)
        return
    rows = table("", "task", "version", "made (UTC)", "needs", "what it does", right=("version",), whole=("task",))
    for one in found:
        made = "built in" if one["built_in"] else f"{datetime.fromtimestamp(one['created_at'], UTC):%Y-%m-%d %H:%M}"
        needs = ", ".join(one["definition"].get("parameters") or ())
        rows.add_row(one["name"], str(one["version"] or ""), made, needs, one["definition"].get("description") or "")
    out.print(rows)


@app.command("show", cls=Command)
def show(
    task: Task,
    version: Version = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(VERSION_SHAPE)] = False,
) -> None:
    """Show a task: its instructions, the form of its answers, and its versions."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found, versions = client.task(task, version), client.task_versions(task)
    if as_json:
        print_json(found)
        return
    out.print(f"[bold]{found['name']}[/] {'built in' if found['built_in'] else 'version ' + str(found['version'])}")
    out.print(written(found["definition"]), markup=False, highlight=False)
    edits = [one for one in versions if not one["with_parameters"] and not one["built_in"]]
    if len(edits) > 1:
        note(f"Versions: {', '.join(str(one['version']) for one in edits)}. Compare two: {again('tasks diff ' + task)}")


@app.command("diff", cls=Command)
def diff(
    task: Task,
    older: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="The older version; without it the last but one.")
    ] = None,
    newer: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="The newer version; without it the latest.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Show what differs between two versions of a task, line by line."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        edits = {one["version"]: one for one in client.task_versions(task) if not one["with_parameters"]}
    numbers = sorted(edits)
    if len(numbers) < 2 and older is None:
        note(f"{task} has one version: there is nothing to compare.")
        return
    first, second = older or numbers[-2], newer or numbers[-1]
    for one in (first, second):
        if one not in edits:
            raise typer.BadParameter(f"{task} has no version {one}. There are: {', '.join(map(str, numbers))}.")
    before, after = (written(edits[one]["definition"]).splitlines() for one in (first, second))
    for line in difflib.unified_diff(before, after, f"{task} {first}", f"{task} {second}", lineterm=""):
        out.print(line, markup=False, highlight=False)


@app.command("export", cls=Command)
def export(
    task: Task,
    to: Annotated[
        Path, typer.Option("--out", metavar="FILE.yaml|-", parser=place, help="Write it there; - is standard output.")
    ] = STANDARD,
    version: Version = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Write a task to a YAML file that `rightsize tasks import` takes, here or elsewhere.

    Example:
      rightsize tasks export invoices --out invoices.yaml
    """
    check_target(to)
    with connected(url, api_key, data_dir, config, workers=False) as client:
        text = written(client.task(task, version)["definition"])
    if to == STANDARD:
        out.print(text, markup=False, highlight=False)
    else:
        to.write_text(text, "utf-8")
        note(f"Written to {to}.")


def written(definition: Mapping[str, Any]) -> str:
    """A definition as YAML, without what it does not say; texts of several lines as people write them."""
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """Writes such texts as blocks."""

    def as_block(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, as_block)
    said = {key: value for key, value in definition.items() if value not in (None, [], "", {})}
    plain = json.loads(json.dumps(said))
    text: str = yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
