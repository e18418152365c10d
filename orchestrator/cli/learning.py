"""Commands that make small models: train, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import server_command, settings_of, with_servers
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, EncoderChoice, Task, check_file, json_flag, place

Labels = Annotated[
    Path, typer.Option("--labels", metavar="FILE.csv", parser=place, help="Labelled rows: CSV with a header.")
]
MaybeLabels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE.csv", parser=place, help="Labelled rows: CSV with a header."),
]
FromHistory = Annotated[
    bool, typer.Option("--from-history", help="Learn from what the task's reference has answered, instead of labels.")
]
TextColumn = Annotated[str, typer.Option("--text-column", help="The column with the text.")]
Encoder = Annotated[
    EncoderChoice,
    typer.Option(
        "--encoder",
        help="auto: sentence vectors where the encoder is installed; none: n-grams alone.",
    ),
]
CertifyRows = Annotated[
    int | None,
    typer.Option(
        "--certify-rows",
        min=0,
        help="Distinct texts kept aside to certify on. Default: a fifth, at most 2,000.",
        show_default=False,
    ),
]
LabelColumn = Annotated[str, typer.Option("--label-column", help="The column with the right answer.")]
SHOWN: Final = 5


def train(
    task: Task,
    labels: MaybeLabels = None,
    from_history: FromHistory = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    encoder: Encoder = EncoderChoice.AUTO,
    certify_rows: CertifyRows = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag(
            "the training record with `version`, `n`, `labels`, `held_out_accuracy`, `splits`, `label_noise`, `notes`, `model_sha256`, "
            "`seconds`"
        ),
    ] = False,
) -> None:
    """Train a specialist for a task: a small classifier on CPU.

    It learns sentence vectors joined with n-grams. A fifth of the texts is kept aside, to certify it on. A label is a word, or a JSON
    object of fields with values from closed lists. Requests of the task may go to slm from then on. Training again makes a new version, which takes the place of the one before.

    Example:
      rightsize train support-triage --labels examples/tickets-train.csv
      rightsize train support-triage --from-history
    """
    check_file(labels)
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        record = server_command("train")(
            settings, task, labels, text_column, label_column, _tell, encoder=encoder.value, certify_rows=certify_rows,
            from_history=from_history,
        )  # fmt: skip
    if as_json:
        print_json(record)
    else:
        out.print(
            f"[bold]{task}[/] version {record['task_version']}: {record['n']} rows, {len(record['labels'])} labels"
        )
        out.print(f"  right on rows that its heads had not seen: {record['held_out_accuracy']:.1%}")
        for one in record["notes"]:
            note(one)
        _show_listed(record)
        use, check = again(f"submit FILE --task {task}"), again(f"evaluate {task} --labels OTHER.csv")
        note(f"Use it: {use}   check it: {check}")


def _show_listed(record: dict[str, Any]) -> None:
    """Rows that look wrong, the first of them, and where all of them are."""
    noise, contradictions = record["label_noise"], record["contradictions"]
    for one in noise.get("listed", [])[:SHOWN]:
        said = f"row {one['row']}: given {one['given']}, looks like {one['said']}"
        out.print(f"  {said} ({one['confidence']:.0%} sure)", markup=False, soft_wrap=True)
    for one in contradictions.get("listed", [])[:SHOWN]:
        rows = ", ".join(map(str, one["rows"][:SHOWN]))
        out.print(f"  rows {rows} say the same with different labels", markup=False, soft_wrap=True)
    note(f"Its card, with figures by label: {record['card']}")
    if max(len(noise.get("listed", [])), len(contradictions.get("listed", []))) > SHOWN:
        note("All rows that look wrong are in the training record: --json, or model.json beside the card.")


def _tell(step: str, share: float) -> None:
    note(f"{share:4.0%}  {step}")


def evaluate(
    task: Task,
    labels: Labels,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag(
            "`accuracy`, `n`, `per_class`, `confusions`, `unknown_labels`, `learned`, `kept_aside`, `accuracy_unseen`, "
            "`out_of_scope`, `calibration_error`, `hindsight_shares`, `median_latency_ms`"
        ),
    ] = False,
) -> None:
    """Measure a task's specialist on labelled rows.

    Give it other rows than those that it was trained on.

    Example:
      rightsize evaluate support-triage --labels examples/tickets.csv
    """
    settings = settings_of(data_dir, config)
    found = server_command("evaluate")(settings, task, labels, text_column, label_column)
    _warn_of_learned(found)
    _warn_of_kept_aside(found)
    _warn_of_unknown(found)
    if as_json:
        print_json(found)
        return
    out.print(f"[bold]{task}[/]: {found['accuracy']:.1%} right of {found['n']}")
    rows = table("", "label", "rows", "precision", "recall", right=("rows", "precision", "recall"))
    for label, one in sorted(found.get("per_class", {}).items()):
        rows.add_row(label, str(one.get("n", "")), f"{one['precision']:.1%}", f"{one['recall']:.1%}")
    out.print(rows)


def _warn_of_learned(found: dict[str, Any]) -> None:
    if found["learned"]:
        others = (
            "there are no others"
            if found["accuracy_unseen"] is None
            else f"of the others {found['accuracy_unseen']:.1%} are right"
        )
        note(
            f"Warning: {found['learned']} of {found['n']} rows are texts that it was trained on, which it has by heart; {others}. "
            "Measure it on rows that it has not seen."
        )


def _warn_of_kept_aside(found: dict[str, Any]) -> None:
    if found["kept_aside"]:
        note(
            f"Warning: {found['kept_aside']} of {found['n']} rows are kept aside for its certificate, which speaks of rows that nobody has looked "
            "at. If these figures make you choose what to certify, or whether, certify on others: --labels FILE.csv, or labels of drawn jobs."
        )


def _warn_of_unknown(found: dict[str, Any]) -> None:
    unknown = {label: int(found["per_class"][label]["n"]) for label in found["unknown_labels"]}
    if unknown:
        shown = ", ".join(f"{label!r} ({rows})" for label, rows in unknown.items())
        note(
            f"Warning: {sum(unknown.values())} of {found['n']} rows have labels that the specialist never saw and cannot "
            f"give: {shown}. Train it on rows with these labels, or mend the file."
        )
