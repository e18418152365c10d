"""`--sample`: some documents at random run first, and tell what all of them would cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from orchestrator.cli.delivering import lines_of
from orchestrator.cli.display import money, note, out, table
from orchestrator.client import Rightsize
from orchestrator.delivery.answers import Result, result_of
from orchestrator.documents.inputs import Input
from orchestrator.documents.sampling import sampled
from orchestrator.forecasting.sample import total_of

MOST_CHARS: Final = 300
"""Of an answer that is shown."""


@dataclass(slots=True)
class Sampling:
    """Takes a sample of documents, always the same of the same ones: so those that were run are not run again."""

    count: int
    seed: str
    found: int = 0
    """How many documents there are in all, once they were looked through."""

    def pick(self, inputs: Iterator[Input]) -> Iterator[Input]:
        """Those that are run."""
        kept, self.found = sampled(inputs, self.count, self.seed)
        return iter(kept)


def show_sample(client: Rightsize, batch: Mapping[str, Any], found: int) -> None:
    """Show what the sample was answered, and what that says of all documents."""
    results = [result_of(line) for line in lines_of(client, batch)]
    shown = table(
        f"A sample of {len(results):,} of {found:,} documents", "document", "answer", "tier", "cost", right=("cost",)
    )
    for one in results:
        cost = money(one.cost_usd) if one.cost_usd is not None else "-"
        shown.add_row(one.document.name, _answer(one), one.tier or "-", "reused" if one.reused else cost)
    out.print(shown)
    note(forecast(results, found))


def forecast(results: Sequence[Result], found: int) -> str:
    """What the other documents would cost, in words. Those whose result was there already are in the sample as they are among all: for nothing."""
    failed = sum(one.failure is not None for one in results)
    told = f"{failed:,} of {len(results):,} have no answer. " if failed else ""
    left = found - len(results)
    total = total_of([one.cost_usd or Decimal(0) for one in results], found)
    if total is None or not left:
        return f"{told}Submit it without --sample: what was run now is not run, and not paid, again."
    share = left / found
    expected, low, high = (money(Decimal(f"{value * share:.3g}")) for value in total)
    return (
        f"{told}The other {left:,} would cost about {expected}, four times in five between {low} and {high}. "
        "Submit it without --sample: what was run now is not run, and not paid, again."
    )


def _answer(one: Result) -> str:
    text = f"{one.failure.code}: {one.failure.message}" if one.failure is not None else one.text
    flat = " ".join(text.split())
    return flat if len(flat) <= MOST_CHARS else f"{flat[: MOST_CHARS - 1]}…"
