"""The command that lets a reasoning model compare answers: judge."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.connect import server_command, settings_of, with_servers
from orchestrator.cli.display import note, out, print_json
from orchestrator.cli.options import Config, DataDir, Task, json_flag


def judge(
    task: Task,
    n: Annotated[int, typer.Option("--n", min=1, max=2_000, help="How many pairs of answers, drawn at random.")] = 100,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`n`, `good`, `ours`, `reference`, `ties`, `biased`, `no_verdict`, `bias`, and `corrected` (`quality` with its interval)")
    ] = False,
) -> None:  # fmt: skip
    """Let a model of the rlm tier compare a specialist's answers with the reference's; it costs you, and no caller.

    Each pair is asked about twice, with the answers in both orders. What the judge says is corrected by labels that people gave: below
    20 of right answers and 20 of wrong ones it says nothing.

    Example:
      rightsize judge support-triage --n 200
    """
    told = [0]

    def tell(ended: int, of: int) -> None:
        if ended * 10 // of > told[0]:
            told[0] = ended * 10 // of
            note(f"{ended:,} of {of:,} questions answered")

    with with_servers(settings_of(data_dir, config)) as settings:
        found: dict[str, Any] = server_command("judge")(settings, task, n, tell)
    if as_json:
        print_json(found)
        return
    out.print(
        f"[bold]{task}[/], judged by {found['judge']}{', which is simulated' if found['simulated'] else ''}: {found['good'] - found['biased']} of "
        f"{found['n']} as good as the reference or better; of {found['biased']} the verdict changed with the order of the two, which counts as a "
        f"tie; {found['no_verdict']} without a verdict"
    )
    corrected = found["corrected"]
    if corrected and corrected["quality"]:
        quality = corrected["quality"]
        out.print(
            f"  corrected by labels: {quality['value']:.1%} right, between {quality['low']:.1%} and {quality['high']:.1%}"
        )
    elif corrected:
        note(corrected["reason"])
