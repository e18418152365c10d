"""`rightsize submit`: hands a batch in, and follows it to its results."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import Service, reached
from orchestrator.cli.delivering import check_apart, check_form, deliver, report
from orchestrator.cli.display import note, out, print_json, show_batch
from orchestrator.cli.documents import (
    check_is_documents,
    is_defined,
    parameters_of,
    schema_of,
    submit_documents,
)
from orchestrator.cli.ending import if_interrupted
from orchestrator.cli.following import follow, show_failures
from orchestrator.cli.naming import is_plain, wanted_of
from orchestrator.cli.options import (
    BATCH_SHAPE,
    ENDPOINT,
    AllowHosts,
    ApiKey,
    Cascade,
    Config,
    DataDir,
    Deadline,
    EndpointOption,
    Escalate,
    Given,
    IdColumn,
    Instructions,
    Labels,
    Manifest,
    MaxCost,
    MaxTier,
    MinTier,
    Password,
    PathColumn,
    Questions,
    Refresh,
    ReportTo,
    ResultsTo,
    Sample,
    SchemaFile,
    StakesHint,
    Strict,
    TaskHint,
    TextColumn,
    TierChoice,
    TierHint,
    Url,
    WorkPlace,
    bounds_of,
    json_flag,
)
from orchestrator.cli.sampling import Sampling, show_sample
from orchestrator.cli.saving import STANDARD
from orchestrator.client import Rightsize
from orchestrator.client.documents import DocumentWork
from orchestrator.contracts import Stakes, Tier
from orchestrator.documents.inputs import name_of
from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.errors import InvalidRequest

ROWS_FAILED: Final = 3
BATCH_FAILED: Final = 4


def submit(
    path: WorkPlace,
    task: TaskHint = None,
    tier: TierHint = TierChoice.AUTO,
    stakes: StakesHint = None,
    cascade: Cascade = None, min_tier: MinTier = None, max_tier: MaxTier = None, escalate: Escalate = False,
    instructions: Instructions = None,
    endpoint: EndpointOption = ENDPOINT,
    max_cost_usd: MaxCost = None,
    labels: Labels = None,
    schema_file: SchemaFile = None,
    question: Questions = None,
    given: Given = None,
    text_column: TextColumn = None, path_column: PathColumn = None, id_column: IdColumn = None,
    allow_host: AllowHosts = None,
    sample: Sample = None,
    refresh: Refresh = False,
    deadline: Deadline = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended, with progress by tier.")] = False,
    results_to: ResultsTo = None,
    report_to: ReportTo = None,
    manifest: Manifest = None,
    password: Password = None,
    strict: Strict = False,
    url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: Annotated[bool, json_flag(BATCH_SHAPE)] = False,
) -> None:  # fmt: skip
    """Submit a batch: one job for each row or file, each routed to the smallest tier that does it well.

    What cannot be read becomes a line of the error file that says why; nothing is skipped. For a task with a definition
    (`rightsize tasks list`) every file is a document, and what was answered before is not run again.

    Examples:
      rightsize submit invoices/ --task extract --schema invoice.schema.json --wait --out answers.jsonl
      rightsize submit 'scans/**/*.pdf' --task summarise --sample 20
      rightsize submit tickets.csv --task triage --wait --out answers.jsonl
      rightsize submit scans/ --instructions "Give the total." --max-cost-usd 5
      cat rows.jsonl | rightsize submit - --wait --out - | jq .custom_id
    """
    wanted = wanted_of(path, text_column, path_column, id_column, allow_host)
    wait = wait or sample is not None
    source = Path(path) if is_plain(wanted) else None
    check_out(results_to, source, wait=wait, as_json=as_json, documents=task is not None)
    check_beside(results_to, report_to, manifest, wait=wait)
    bounds = bounds_of(cascade, min_tier, max_tier, escalate=escalate)
    work = Work.of(Path(path), task, tier, stakes, instructions, endpoint, max_cost_usd, bounds)
    sampling = None if sample is None else Sampling(sample, path)
    parameters, pick = parameters_of(labels, schema_file, question, given), sampling.pick if sampling else iter
    documents = DocumentWork(wanted, task or "", parameters, work.own_hints, refresh, password, pick=pick)
    with reached(url, api_key, data_dir, config) as service:
        batch, schema = _hand_in(service.client, work, documents, deadline, manifest, quiet=as_json)
        if not wait:
            show_made(batch, as_json=as_json)
            return
        batch = finish(service, batch, results_to, as_json=as_json, schema=schema, documents=task is not None)
        if report_to is not None:
            report(service.client, batch, report_to, name_of(wanted), schema)
        if sampling and not as_json and results_to != STANDARD:
            show_sample(service.client, batch, sampling.found)
    leave(batch, strict=strict)


def check_beside(results_to: Path | None, report_to: Path | None, manifest: Path | None, *, wait: bool) -> None:
    """Refuse a report that would come before there is anything to tell, and files that would overwrite one another."""
    if report_to is not None and not wait:
        raise typer.BadParameter("--report needs --wait: a report is of what became of the documents.")
    check_apart(results_to, report_to, manifest)


@dataclass(frozen=True, slots=True)
class Work:
    """What is handed in or estimated: a path, and what holds for all of its rows."""

    path: Path
    options: RowOptions
    hints: dict[str, Any]

    @classmethod
    def of(
        cls, path: Path, task: str | None, tier: TierChoice, stakes: Stakes | None, instructions: str | None, endpoint: str,
        max_cost_usd: str | None, bounds: Mapping[str, Any],
    ) -> Self:  # fmt: skip
        """The work that a command's flags describe."""
        named = None if tier is TierChoice.AUTO else Tier(tier)
        options = RowOptions(task=task, tier=named, stakes=stakes, instructions=instructions, endpoint=endpoint)
        hints = {"task": task, "tier": named, "stakes": stakes, "max_cost_usd": max_cost_usd}
        given = {key: str(value) for key, value in hints.items() if value is not None}
        return cls(path, options, {**given, **bounds, "on_invalid_row": "report"})

    @property
    def own_hints(self) -> dict[str, Any]:
        """Its hints beside the task, and what is done with wrong rows: a batch of documents says those by itself."""
        return {key: value for key, value in self.hints.items() if key not in ("task", "on_invalid_row")}

    def lines(self) -> Iterator[bytes]:
        """The rows, each a line."""
        stdin = None
        if self.path == STANDARD:
            if sys.stdin is None:
                raise InvalidRequest("Standard input is closed. Pipe rows into it, or name a file.")
            stdin = sys.stdin.buffer
        return (line + b"\n" for line in rows_of(self.path, self.options, stdin=stdin))

    @property
    def filename(self) -> str:
        """What the uploaded file is called."""
        return f"{self.path.name or 'stdin'}.jsonl"


def check_out(
    results_to: Path | None, source: Path | None, *, wait: bool, as_json: bool, documents: bool = False
) -> None:
    """Refuse results that have no place, or that would come before there are any."""
    if results_to is None:
        return
    if not wait:
        raise typer.BadParameter("--out needs --wait. Without it, read the results later with `rightsize results`.")
    if as_json and results_to == STANDARD:
        raise typer.BadParameter("--json and --out - both want standard output: give --out a file.")
    check_form(results_to, source, documents=documents)


def _hand_in(
    client: Rightsize, work: Work, documents: DocumentWork, deadline: str, manifest: Path | None, *, quiet: bool
) -> tuple[dict[str, Any], dict[str, Any] | None]:  # fmt: skip
    """The batch that is made of the work, and where it is of documents for a task that is defined the form of their answers."""
    if is_defined(client, documents.task or None, documents.wanted):
        return submit_documents(client, documents, deadline, manifest, quiet=quiet), schema_of(client, documents)
    check_is_documents(documents, manifest)
    return _send(client, work, deadline), None


def _send(client: Rightsize, work: Work, deadline: str) -> dict[str, Any]:
    if_interrupted(
        f"Interrupted before the batch was there. Should it have come to be, this shows it: {again('status')}"
    )
    file = client.upload(work.lines(), filename=work.filename)
    endpoint = work.options.endpoint
    return client.create_batch(file["id"], endpoint=endpoint, completion_window=deadline, rightsize=work.hints)


def show_made(batch: dict[str, Any], *, as_json: bool) -> None:
    """Show a batch that was made, and how to go on."""
    if as_json:
        print_json(batch)
        return
    out.print(batch["id"])
    status, results = again(f"status {batch['id']}"), again(f"results {batch['id']}")
    note(f"Follow it: {status}   read it: {results}")


def finish(
    service: Service, batch: dict[str, Any], results_to: Path | None, *, as_json: bool, schema: dict[str, Any] | None = None,
    documents: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Follow the batch to its end, write its results, and show what became of it."""
    batch = follow(service.client, batch, quiet=as_json, lasts=service.lasts)
    if results_to is not None:
        deliver(service.client, batch, results_to, schema, documents=documents)
    if as_json:
        print_json(batch)
    elif results_to != STANDARD:  # lines for a program are not to be mixed with a table for people
        show_batch(batch)
        show_failures(service.client, batch)
    return batch


def leave(batch: dict[str, Any], *, strict: bool) -> None:
    """Leave with the exit code of a batch that has ended."""
    if batch["status"] != "completed":
        raise typer.Exit(BATCH_FAILED)
    if strict and batch["request_counts"]["failed"]:
        raise typer.Exit(ROWS_FAILED)
