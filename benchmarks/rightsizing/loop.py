"""The whole loop of `make demo-rightsizing`, and the demotion of a specialist in live traffic that is a part of it."""

from __future__ import annotations

from benchmarks import demo_rightsizing as demo
from benchmarks.report import Row, Scale, at_least, at_most, told


def measure(_: Scale) -> list[Row]:
    found = demo.play()
    shape = (
        f"{demo.LIVE:,} tickets made from sentences of our own; the large model is SIMULATED ({demo.REFERENCE_RIGHT:.0%} right, $0.05), the "
        "specialist is real"
    )
    return [
        at_most("loop: from the first ticket to the report", found.took_s, demo.WITHIN_S, "s", note=shape),
        at_least("loop: saved, net of escalation and audits", 100 * found.saved, 80, "%",
                 note=f"training ({found.training_s:.0f} s of CPU) and {found.labels:,} labels stand apart"),
        at_least("loop: right, against the large model", 100 * found.change, -2, "points"),
        at_most("live: audits until demotion once quality halved", found.audits, 200, "", note="half of the tickets want another label from one moment on"),
        at_most("live: jobs lost in the change", found.lost, 0, "", note="each batch is counted; every job has its line"),
        told("loop: tickets that pay for the labels, at 5 cents each", float(0.05 * found.labels / float(found.saved_usd)), ""),
    ]  # fmt: skip
