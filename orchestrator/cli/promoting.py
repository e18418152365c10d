"""Commands that hold a specialist to its quality: certify, promote, demote, freeze, stages, label."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import server_command, settings_of, with_servers
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, Task, check_file, json_flag, place
from orchestrator.cli.saving import check_target

STAGES: Final = ("shadow", "canary", "full")
Shown = Annotated[
    bool,
    json_flag(
        "`stage`, `certificate`, `threshold`, `audits` by kind (of this specialist under this certificate), `watched`, `certificates` and the `history` of its stages"
    ),
]


class MeasureChoice(StrEnum):
    """What a certificate is about."""

    ACCURACY = "accuracy"
    AGREEMENT = "agreement"


def _stage_named(value: str) -> str:
    if value not in STAGES:
        raise typer.BadParameter(f"{value!r} is no stage. Give one of {', '.join(STAGES)}.")
    return value


def certify(
    task: Task,
    target: Annotated[float, typer.Option("--target", min=0.5, max=0.9999, help="The least quality of what it answers alone.")] = 0.98,
    delta: Annotated[float, typer.Option("--delta", min=1e-6, max=0.49, help="The chance that the certificate is wrong, over all attempts.")] = 0.05,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE.csv", parser=place, help="Labelled rows that it was not trained on; else those kept aside at training."),
    ] = None,
    measure: Annotated[
        MeasureChoice | None, typer.Option("--measure", help="`accuracy` of labels, or `agreement` with the reference, from audits of the shadow.")
    ] = None,
    reference_quality: Annotated[
        float | None,
        typer.Option("--reference-quality", min=0.5, max=1.0, help="The least accuracy of the reference on what the specialist accepts: audits are judged by it. Else what at least 100 labels of its answers say, or the target."),
    ] = None,
    text_column: Annotated[str, typer.Option("--text-column", help="The column with the text.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="The column with the right answer.")] = "label",
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How long the certificate holds.")] = 90,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`issued`, `threshold`, `share`, `share_interval`, `target`, `delta`, `n`, `bound`, `reference_quality`, `more_labels`, `reason`")
    ] = False,
) -> None:  # fmt: skip
    """Certify that a specialist may answer alone: on which share of the rows, and how sure of it one can be.

    The statement holds for the number of rows that there are, without an approximation. Every attempt uses rows that none used before,
    and spends a part of delta. Where the rows do not suffice it says how many more would, and issues nothing.

    Example:
      rightsize certify support-triage --target 0.98 --delta 0.05
    """
    check_file(labels)
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found = server_command("certify")(
            settings, task, target=target, delta=delta, labels=labels, text_column=text_column, label_column=label_column,
            measure=measure, reference_quality=reference_quality, days=days,
        )  # fmt: skip
    if as_json:
        print_json(found)
    else:
        _show_certificate(found)
    if not found["issued"]:
        raise typer.Exit(1)


def _show_certificate(found: Mapping[str, Any]) -> None:
    if found["issued"]:
        low, high = found["share_interval"]
        out.print(
            f"[bold]{found['task']}[/]: certified. It may answer alone where its score is {found['threshold']:.4f} or more: "
            f"{found['share']:.1%} of the rows ({low:.1%} to {high:.1%})."
        )
        out.print(
            f"  {found['measure']} of {found['target']:.1%} or more on those, but for a chance of {found['delta']:g}; shown by {found['n']:,} rows, "
            f"{found['errors']} of {found['accepted']:,} answers wrong"
        )
        if found["measure"] == "accuracy":
            note(_held_to(found))
        note(f"Next: {again('promote ' + found['task'] + ' --to canary')}")
    else:
        out.print(f"[bold]{found['task']}[/]: not certified. {found['reason']}")
        if found["more_labels"]:
            note(f"About {found['more_labels']:,} more labelled rows should do.")


def _held_to(found: Mapping[str, Any]) -> str:
    """What audits will be held to, and where that comes from."""
    least, known = found["target"], found["reference_quality"]
    if known is None:
        return (
            f"Audits will be held to an agreement of {max(0.0, 2 * least - 1):.1%}: nothing is known of the reference, which is taken to be right as "
            "often as this promises. If you know better, say so with --reference-quality; 100 labels of its answers tell it too."
        )
    return f"Audits will be held to an agreement of {max(0.0, least + known - 1):.1%}: the reference is right in {known:.1%} at least."


def promote(
    task: Task,
    to: Annotated[str, typer.Option("--to", callback=_stage_named, help="shadow, canary or full.")],
    reference: Annotated[str | None, typer.Option("--reference", help="The model that takes over and is asked for audits; the default tier's otherwise.")] = None,
    share: Annotated[float | None, typer.Option("--share", min=0.001, max=1.0, help="Of a canary: the share of the requests that ask the specialist first.")] = None,
    audit_share: Annotated[float | None, typer.Option("--audit-share", min=0.0, max=1.0, help="The probability with which a job is audited.")] = None,
    automatic: Annotated[bool, typer.Option("--automatic", help="Take further steps without being asked, as far as certificates allow.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Shown = False,
) -> None:  # fmt: skip
    """Let a specialist take its next step: shadow, canary, full.

    In the shadow the reference answers, and the specialist is asked beside it. In a canary a share of the requests asks the specialist
    first, in full all do; both need a certificate, and what it is not sure enough of goes on to the reference. Audits go on all the time:
    once they say that its quality is below the target, it no longer answers alone.

    Examples:
      rightsize promote support-triage --to shadow
      rightsize promote support-triage --to canary --share 0.1
      rightsize promote support-triage --to full
    """
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found = server_command("promote")(
            settings, task, to, reference=reference, share=share, audit_share=audit_share, automatic=automatic
        )
    print_json(found) if as_json else _show(found)


def demote(
    task: Task,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the history.")] = "By hand.",
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Shown = False,
) -> None:
    """Take a specialist's right to answer alone; what waits for it goes on to the reference.

    Example:
      rightsize demote support-triage --reason "New product line"
    """
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found = server_command("demote")(settings, task, reason=reason)
    print_json(found) if as_json else _show(found)


def freeze(task: Task, data_dir: DataDir = None, config: Config = None, as_json: Shown = False) -> None:
    """Let a task stay in its stage: nothing is promoted by itself any more. Audits go on, and may demote.

    Example:
      rightsize freeze support-triage
    """
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found = server_command("freeze")(settings, task)
    print_json(found) if as_json else _show(found)


def stages(task: Task, data_dir: DataDir = None, config: Config = None, as_json: Shown = False) -> None:
    """Show the stage of a task, what its audits say, its certificates, and how it came there.

    Example:
      rightsize stages support-triage
    """
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found = server_command("stages")(settings, task)
    print_json(found) if as_json else _show(found)


def label(
    task: Task,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE.csv", parser=place, help="A job's id and the right answer a line: CSV with a header.")
    ] = None,
    draw: Annotated[int | None, typer.Option("--draw", min=1, max=10_000, help="Draw so many answered jobs at random, for people to label.")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", metavar="FILE.csv", help="Where those that are drawn are written.")] = None,
    job_column: Annotated[str, typer.Option("--job-column", help="The column with the job's id.")] = "job",
    label_column: Annotated[str, typer.Option("--label-column", help="The column with the right answer.")] = "label",
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("`task`, the number of `labels` stored and of rows `without_a_label`, and `unknown_labels`")] = False,
) -> None:  # fmt: skip
    """Say what the right answers to a task's jobs are: the quality of every model that answered them is measured by it.

    Jobs that are drawn with --draw stand for all others, since the probability with which they were drawn is noted.

    Examples:
      rightsize label support-triage --draw 200 --out to-label.csv
      rightsize label support-triage --labels to-label.csv
    """
    if (labels is None) == (draw is None) or (draw is None) != (out_file is None):
        raise typer.BadParameter("Give --labels FILE.csv, or --draw N with --out FILE.csv.")
    if draw is not None and out_file is not None:
        _draw(task, draw, out_file, data_dir, config)
        return
    check_file(labels)
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found = server_command("label")(settings, task, labels, job_column=job_column, label_column=label_column)
    if found["unknown_labels"]:
        note(
            f"Warning: the specialist of {task} cannot give {', '.join(found['unknown_labels'][:5])}"
            f"{' and others' if len(found['unknown_labels']) > 5 else ''}. If a label is misspelt, correct it and give the file "
            "again: the newest word on a job counts. If it is right, train it anew on rows with it."
        )
    if as_json:
        print_json(found)
        return
    left = f"; {found['without_a_label']:,} rows have none yet" if found["without_a_label"] else ""
    out.print(f"{found['labels']:,} labels of task {task} are stored{left}.")


def _draw(task: str, n: int, out_file: Path, data_dir: Path | None, config: Path | None) -> None:
    check_target(out_file)
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        rows: list[dict[str, str]] = server_command("draw_to_label")(settings, task, n)
    with out_file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    note(
        f"{len(rows):,} jobs are in {out_file}. Fill the column `label`, then: {again(f'label {task} --labels {out_file}')}"
    )


def _show(found: Mapping[str, Any]) -> None:
    certificate = found["certificate"] or "no certificate"
    out.print(
        f"[bold]{found['task']}[/] is in stage [bold]{found['stage']}[/] since {_day(found['since'])} ({certificate})."
    )
    out.print(f"  {found['reason']}")
    for kind, counted in found["audits"].items():
        missing = f", {counted['missing']} never answered" if counted["missing"] else ""
        out.print(f"  {kind}: {counted['agreed']:,} of {counted['decided']:,} agree{missing}; {counted['open']:,} open")
    if found["watched"]:
        out.print(f"  {found['watched']}", soft_wrap=True)
    _show_history(found["history"])


def _show_history(history: Sequence[Mapping[str, Any]]) -> None:
    rows = table("", "since", "stage", "share", "by", "reason", right=("share",), whole=("since", "stage", "share"))
    for one in history:
        rows.add_row(_day(one["since"]), one["stage"], f"{one['share']:.0%}", one["set_by"], one["reason"])
    out.print(rows)


def _day(stamp: int) -> str:
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M")
