"""`rightsize bench`: a load trace against the running service, and how long its requests take, by tier."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from orchestrator.bench import figures
from orchestrator.bench.replay import Replay, body_of
from orchestrator.bench.trace import Trace, read_trace
from orchestrator.cli.connect import Service, reached
from orchestrator.cli.display import complain, money, note, out, print_json, show_batch, table
from orchestrator.cli.ending import INTERRUPTED, REFUSED
from orchestrator.cli.following import follow, show_failures
from orchestrator.cli.options import ApiKey, Config, DataDir, ResultsTo, TierChoice, TierHint, Url, json_flag, place
from orchestrator.cli.saving import check_target, write_lines
from orchestrator.client import AsyncRightsize, Progress
from orchestrator.contracts import Tier
from orchestrator.errors import InvalidRequest
from orchestrator.requests import CHAT

FIRST_WORD_S: Final = 5.0
MOST_WORD_S: Final = 30.0
TraceFile = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE.csv", parser=place, help="Arrival (seconds or times), input tokens, output tokens; a tier too."
    ),
]


def bench(
    trace: TraceFile,
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, max=1e6, help="Play it so many times as fast as it was.")
    ] = 1.0,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first so many requests.")
    ] = None,
    tier: TierHint = TierChoice.AUTO,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", metavar="N", min=1, max=4096, help="The most requests outstanding at once."),
    ] = 256,
    batch: Annotated[
        bool, typer.Option("--batch", help="Submit all of it as one batch instead, and time that by tier.")
    ] = False,
    results_to: ResultsTo = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag(
            "`requests`, `latency_s`, `tiers`, `errors`, tokens a second, `cost_usd`; with --batch `total_s`, `tiers`"
        ),
    ] = False,
) -> None:
    """Replay a load trace against the running service and show how long answers take, by tier.

    Each request is sent when the trace says so (over --speed), whether or not earlier ones have come back, as people and
    programs do: a service that is too slow shows it in its percentiles. A latency counts from when a request was due. Where
    --concurrency are outstanding, the next is not sent, and counted as that. Prompts are made up: words of about the given
    length, and max_tokens as given. A column `tier` says where a row runs; --tier says it for all.

    Real requests cost real money: try --limit 10 first. Ctrl-C shows what there is so far.

    Examples:
      rightsize bench examples/trace.csv --speed 10
      rightsize bench AzureLLMInferenceTrace_conv.csv --limit 500 --tier llm --out requests.jsonl
      rightsize bench examples/trace.csv --batch
    """
    _check_out(results_to, trace, batch=batch, as_json=as_json)
    found = read_trace(trace, limit)
    _tell_trace(found, speed)
    named = None if tier is TierChoice.AUTO else Tier(tier)
    with reached(url, api_key, data_dir, config) as service:
        service.client.models()  # a wrong URL or key is said at once, and not once for each request
        if batch:
            _as_batch(service, found, named, as_json=as_json)
            return
        replay = Replay(found.arrivals, speed, named, concurrency)
        _run(service, replay, found.seconds / speed)
    _finish(replay, results_to, as_json=as_json)


def _check_out(results_to: Path | None, trace: Path, *, batch: bool, as_json: bool) -> None:
    if results_to is None:
        return
    if batch:
        raise typer.BadParameter("--out is for requests: read a batch's results with `rightsize results`.")
    if as_json and results_to == Path("-"):
        raise typer.BadParameter("--json and --out - both want standard output: give --out a file.")
    check_target(results_to, trace)


def _tell_trace(trace: Trace, speed: float) -> None:
    if trace.unfit:
        note(f"{trace.unfit:,} rows of the trace cannot be used and are left out; {trace.problem}")
    tokens = [sum(getattr(one, name) for one in trace.arrivals) for name in ("input_tokens", "output_tokens")]
    seconds = trace.seconds / speed
    note(
        f"{len(trace.arrivals):,} requests over {seconds:,.1f} s, {tokens[0]:,} input tokens and up to {tokens[1]:,} output tokens"
    )


def _run(service: Service, replay: Replay, seconds: float) -> None:
    said = _Saying(seconds)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with AsyncRightsize(service.url, service.api_key, connections=replay.most) as client:
            with _interrupts(lambda: loop.call_soon_threadsafe(stop.set)):
                await replay.run(client, stop, said.look)

    asyncio.run(run())


@contextmanager
def _interrupts(instead: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C does this within the block; a second one ends the command as ever."""
    before = signal.getsignal(signal.SIGINT)

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        instead()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Saying:
    """Tells now and then how a replay goes on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next_s = FIRST_WORD_S
        self._pause_s = FIRST_WORD_S

    def look(self, replay: Replay) -> None:
        """See how far it is, and say it where that is due."""
        if replay.elapsed_s < self._next_s:
            return
        self._pause_s = min(MOST_WORD_S, 1.5 * self._pause_s)
        self._next_s = replay.elapsed_s + self._pause_s
        failed = sum(bool(one.code) for one in replay.sent)
        note(
            f"{replay.elapsed_s:,.0f} s, of a trace of {self._seconds:,.0f} s: {replay.due:,} of {len(replay.arrivals):,} due, "
            f"{len(replay.sent) - failed:,} answered, {failed:,} failed, {replay.unanswered:,} outstanding, {replay.not_sent:,} not sent"
        )


def _finish(replay: Replay, results_to: Path | None, *, as_json: bool) -> None:
    found = figures.summary(
        replay.sent, due=replay.due, not_sent=replay.not_sent, unanswered=replay.unanswered, elapsed_s=replay.elapsed_s
    )  # fmt: skip
    found["interrupted"] = replay.interrupted
    if results_to is not None:
        lines = (orjson.dumps(one.as_dict()) + b"\n" for one in sorted(replay.sent, key=lambda one: one.arrival_s))
        note(f"{write_lines(lines, results_to):,} lines in {results_to}")
    if as_json:
        print_json(found)
    elif results_to != Path("-"):
        _show(found)
    if replay.interrupted:
        note(f"Interrupted after {replay.due:,} of {len(replay.arrivals):,} requests.")
        raise typer.Exit(INTERRUPTED)
    if not found["requests"]["answered"]:
        complain("No request was answered: see the errors by code above.")
        raise typer.Exit(REFUSED)


def _show(found: Mapping[str, Any]) -> None:
    columns = ("answered", "failed", *figures.SHARES, "cost")
    rows = table("", "tier", *columns, right=columns)
    for tier, one in found["tiers"].items():
        rows.add_row(tier or "unknown", *_cells(one))
    requests = found["requests"]
    rows.add_section()
    rows.add_row("all", *_cells({**found, "answered": requests["answered"], "failed": requests["failed"]}))
    out.print(rows)
    out.print("latencies in seconds, from when a request was due to its whole answer", style="dim")
    out.print(
        f"{found['requests_per_s']:,.1f} answers/s, {found['input_tokens_per_s']:,.0f} input and "
        f"{found['output_tokens_per_s']:,.0f} output tokens/s over {found['elapsed_s']:,.1f} s"
    )
    for code, count in found["errors"].items():
        out.print(f"  {count:,} x {code}", markup=False)
    if requests["not_sent"]:
        note(
            f"{requests['not_sent']:,} were not sent: so many were outstanding. Raise --concurrency, or lower --speed."
        )
    if requests["late"]:
        note(f"{requests['late']:,} left over {figures.LATE_S:g} s late: this machine is too slow for this --speed.")
    if requests["unanswered"]:
        note(f"{requests['unanswered']:,} were still without an answer.")
    if found["simulated"]:
        note("Some models are simulated: these are the times of their options, not of a model.")


def _cells(one: Mapping[str, Any]) -> list[str]:
    latencies = one["latency_s"]
    shown = [f"{latencies[name]:.3f}" if latencies else "" for name in figures.SHARES]
    return [f"{one['answered']:,}", f"{one['failed']:,}", *shown, money(one["cost_usd"])]


def _as_batch(service: Service, trace: Trace, tier: Tier | None, *, as_json: bool) -> None:
    """The whole trace as one batch: how long until each tier had done its part."""
    client, began = service.client, time.monotonic()
    file = client.upload(_rows(trace, tier), filename="bench.jsonl")
    made = client.create_batch(file["id"], endpoint=CHAT)
    done_s: dict[str, float] = {}

    def look(now: Progress) -> None:
        for name, one in now["tiers"].items():
            if one["planned"] and one["completed"] + one["failed"] >= one["planned"]:
                done_s.setdefault(name, round(time.monotonic() - began, 2))

    ended = follow(client, made, quiet=as_json, lasts=service.lasts, on_look=look)
    total_s = time.monotonic() - began
    tiers = {name: {**one, "done_s": done_s.get(name)} for name, one in ended["rightsize"]["tiers"].items()}
    if as_json:
        usage = ended["usage"]
        print_json(
            {
                "batch": ended["id"],
                "status": ended["status"],
                "total_s": round(total_s, 2),
                "tiers": tiers,
                "usage": usage,
            }
        )
    else:
        show_batch(ended)
        rows = table("", "tier", "rows", "seconds to its end", "rows/s", right=("rows", "seconds to its end", "rows/s"))
        for name, one in tiers.items():
            ended_rows, seconds = one["completed"] + one["failed"], one["done_s"]
            rows.add_row(
                name,
                f"{ended_rows:,}",
                f"{seconds:.1f}" if seconds else "",
                f"{ended_rows / seconds:,.1f}" if seconds else "",
            )
        out.print(rows)
        out.print(
            f"all of it in {total_s:.1f} s, with upload and files; a tier's end is seen within a second",
            soft_wrap=True,
        )
        show_failures(client, ended)
    if ended["status"] != "completed":
        raise InvalidRequest(
            f"The batch {ended['id']} is {ended['status']}: `rightsize status {ended['id']}` tells more."
        )


def _rows(trace: Trace, tier: Tier | None) -> Iterator[bytes]:
    for number, arrival in enumerate(trace.arrivals):
        body = body_of(number, arrival, tier or arrival.tier)
        yield orjson.dumps({"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body}) + b"\n"
