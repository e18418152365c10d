"""The demo: the main job on four tiers with input that the project wrote, measured and told honestly."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Final

from orchestrator.cli.again import again
from orchestrator.cli.connect import connected, server_command, settings_of, with_servers
from orchestrator.cli.display import money, note, out, table
from orchestrator.cli.following import follow
from orchestrator.cli.options import Config, DataDir
from orchestrator.cli.saving import save_results
from orchestrator.client import Rightsize
from orchestrator.errors import InvalidConfig
from orchestrator.requests import CHAT

TASK: Final = "support-triage"
EXAMPLES_OF: Final = ("slm", "rlm", "mllm")


@dataclass(frozen=True, slots=True)
class Answered:
    """One row of the demo with its answer."""

    tier: str
    model: str
    right: bool | None
    """None where no label is known."""
    seconds: float
    """Of the model: simulated seconds where it is simulated."""
    cost_usd: Decimal
    on_llm_usd: Decimal | None
    """What it would have cost on llm; None where llm cannot do it."""
    simulated: bool
    row: Mapping[str, Any]
    question: str


def demo(data_dir: DataDir = None, config: Config = None) -> None:
    """Run the main job on four tiers: train a specialist, submit one batch without tiers, show results, costs and reasons."""
    run(data_dir, config, demo_rows())


def demo_rows() -> list[dict[str, Any]]:
    """The rows of the demo: tickets, research questions, strategies and pages."""
    return [json.loads(line) for line in (examples_folder() / "demo.jsonl").read_text("utf-8").splitlines()]


def run(
    data_dir: Path | None, config: Path | None, rows: Sequence[Mapping[str, Any]], remarks: Sequence[str] = ()
) -> None:
    """The demo with these rows on any fleet that has a specialist; `remarks` tell what its figures do not say."""
    folder = examples_folder()
    settings = settings_of(data_dir, config)
    with with_servers(settings) as served:
        _heading("1. Train a specialist for support tickets (real: a small classifier on this CPU)")
        record = server_command("train")(served, TASK, folder / "tickets-train.csv", "text", "label", lambda *_: None)
        out.print(
            f"   {record['n']} labelled tickets, {record['seconds']:.1f} s, right on {record['held_out_accuracy']:.0%} of tickets it had not seen"
        )
        with connected(None, None, data_dir, config) as client:
            _run(client, rows, settings.data_dir, remarks)


def examples_folder() -> Path:
    """Where the examples lie: in the installed package, or at the top of a checkout."""
    inside = Path(str(resources.files("orchestrator"))) / "examples"
    for found in (inside, inside.parent.parent / "examples"):
        if (found / "demo.jsonl").is_file():
            return found
    raise InvalidConfig(
        "The demo's examples are not installed. Install Rightsize again, or run the demo from a checkout."
    )


def _run(client: Rightsize, rows: Sequence[Mapping[str, Any]], data_dir: Path, remarks: Sequence[str]) -> None:
    _heading(f"2. Submit {len(rows)} rows as ONE batch, without naming a tier")
    batch = _batch(client, rows, {})
    results = data_dir / "demo-results.jsonl"
    save_results(client, batch, results)
    answered = _answered(client, rows, results)
    tickets = [row for row in rows if row["body"].get("rightsize", {}).get("task") == TASK]
    note(f"For comparison, the {len(tickets)} tickets once more, all on llm.")
    compared = data_dir / "demo-on-llm.jsonl"
    save_results(client, _batch(client, [_on_llm(row) for row in tickets], {}), compared)
    _heading("3. What each tier did")
    _show_tiers(answered)
    _show_saving(answered, _answered(client, tickets, compared))
    _heading("4. Three rows, and why they went where they went")
    _show_examples(answered)
    _heading("5. What was real, and what was simulated")
    _show_simulated(answered)
    for remark in remarks:
        out.print(f"   {remark}", markup=False)
    _heading("6. Where it lies, and what to try next")
    out.print(f"   results   {results}", markup=False)
    for words in (
        f"status {batch['id']}", "cost --by tier", "doctor",
        'explain "Analyse and compare these two strategies step by step"',
        "submit examples/pages --instructions 'What is the total?' --wait --out pages.jsonl",
    ):  # fmt: skip
        out.print(f"   {again(words)}", markup=False, style="cyan", soft_wrap=True)


def _heading(text: str) -> None:
    out.print(f"\n[bold]{text}[/]")


def _batch(client: Rightsize, rows: Sequence[Mapping[str, Any]], hints: dict[str, Any]) -> dict[str, Any]:
    file = client.upload((json.dumps(row).encode() + b"\n" for row in rows), filename="demo.jsonl")
    made = client.create_batch(file["id"], endpoint=CHAT, completion_window="1h", rightsize=hints)
    return follow(client, made, lasts=False)


def _on_llm(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "body": {**row["body"], "model": "llm"}}


def _answered(client: Rightsize, rows: Sequence[Mapping[str, Any]], results: Path) -> list[Answered]:
    """The rows with their answers. The price on llm is asked once for each kind of row that the answer depends on."""
    asked = {row["custom_id"]: row["body"] for row in rows}
    return [_one(client, json.loads(line), asked) for line in results.read_text("utf-8").splitlines()]


def _one(client: Rightsize, line: dict[str, Any], asked: Mapping[str, Any]) -> Answered:
    body, ours = asked[line["custom_id"]], line["rightsize"]
    response = (line["response"] or {}).get("body") or {}
    said = response["choices"][0]["message"]["content"] if response else None
    expected = body.get("metadata", {}).get("expected")
    explained = client.explain(body)
    on_llm = [
        Decimal(one["cost_usd"]) for one in explained["alternatives"] if one["tier"] == "llm" and not one["problem"]
    ]
    simulated_s = response.get("rightsize_simulated", {}).get("latency_s")
    return Answered(
        tier=ours["tier"],
        model=ours["model"],
        right=None if expected is None else said is not None and said.strip() == expected,
        seconds=simulated_s if simulated_s is not None else ours["engine_s"] or 0.0,
        cost_usd=Decimal(ours["cost_usd"]),
        on_llm_usd=min(on_llm, default=None),
        simulated=ours["simulated"],
        row=line,
        question=_text_of(body),
    )


def _text_of(body: Mapping[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return (
        content if isinstance(content, str) else next((part["text"] for part in content if part["type"] == "text"), "")
    )


def _show_tiers(answered: Sequence[Answered]) -> None:
    rows = table(
        "", "tier", "jobs", "succeeded", "right", "median", "p95", "cost", "on llm", "",
        right=("jobs", "succeeded", "right", "median", "p95", "cost", "on llm"),
    )  # fmt: skip
    for tier in ("slm", "llm", "rlm", "mllm"):
        of_tier = [one for one in answered if one.tier == tier]
        if of_tier:
            rows.add_row(tier, *_figures(of_tier))
    rows.add_section()
    rows.add_row("all", *_figures(answered))
    out.print(rows)


def _figures(some: Sequence[Answered]) -> list[str]:
    seconds = sorted(one.seconds for one in some)
    on_llm = [one.on_llm_usd for one in some]
    price = (
        "cannot"
        if None in on_llm and len(set(on_llm)) == 1
        else money(sum((p for p in on_llm if p is not None), Decimal(0)))
    )
    simulated = sum(one.simulated for one in some)
    told = "real" if not simulated else "simulated" if simulated == len(some) else f"{simulated} simulated"
    return [
        str(len(some)), str(sum(one.row["error"] is None for one in some)), _right(some), f"{statistics.median(seconds):.3g} s",
        f"{seconds[int(0.95 * (len(seconds) - 1))]:.3g} s", money(sum((one.cost_usd for one in some), Decimal(0))), price, told,
    ]  # fmt: skip


def _right(some: Sequence[Answered]) -> str:
    known = [one.right for one in some if one.right is not None]
    return f"{sum(known) / len(known):.1%}" if known else "-"


def _show_saving(answered: Sequence[Answered], on_llm: Sequence[Answered]) -> None:
    """The saving on the tickets, with the difference in accuracy beside it: both measured in this run."""
    tickets = [one for one in answered if one.right is not None]
    ours, theirs = (sum((one.cost_usd for one in some), Decimal(0)) for some in (tickets, on_llm))
    if not tickets or not theirs:
        return
    difference = 100 * (
        sum(bool(one.right) for one in tickets) / len(tickets) - sum(bool(one.right) for one in on_llm) / len(on_llm)
    )
    out.print(
        f"\n   The {len(tickets)} tickets cost {money(ours)} here and {money(theirs)} on llm: {1 - ours / theirs:.1%} saved, "
        f"at {_right(tickets)} right against {_right(on_llm)} ({difference:+.1f} points; the llm is {_kind(on_llm)})."
    )


def _kind(some: Sequence[Answered]) -> str:
    return "simulated" if any(one.simulated for one in some) else f"{some[0].model}, and real"


def _show_examples(answered: Sequence[Answered]) -> None:
    for tier in EXAMPLES_OF:
        one = next((one for one in answered if one.tier == tier), None)
        if one is None:
            continue
        out.print(f"   [bold]{one.row['custom_id']}[/] -> {tier} ({one.model}), {money(one.cost_usd)}")
        out.print(f"      {one.question[:100]!r}", markup=False, style="dim")
        for reason in one.row["rightsize"]["reasons"]:
            out.print(f"      - {reason}", markup=False)


def _show_simulated(answered: Sequence[Answered]) -> None:
    simulated = sorted({one.model for one in answered if one.simulated})
    real = sorted({one.model for one in answered if not one.simulated})
    out.print(f"   real       {', '.join(real) or 'none'}{': run on this machine' if real else ''}")
    speeds = {
        one.row["response"]["body"]["rightsize_simulated"]["speed"]
        for one in answered
        if one.simulated and one.row["response"]
    }
    told = (
        f"; time ran {', '.join(f'{speed:g}' for speed in sorted(speeds))} times as fast as in life" if speeds else ""
    )
    out.print(f"   simulated  {', '.join(simulated) or 'none'}: times, accuracy and prices are reference figures{told}")
    out.print("   Put your own models into rightsize.toml: any OpenAI-compatible server serves a tier.")
