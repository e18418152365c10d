"""How busy a model is, and how long a further batch takes beside all that waits there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.forecasting.prediction import Bounds

BATCH_S: Final = Bounds(0.4, 0.2, 2.0)
"""What each batch takes beside the engine's work: it is admitted, its first jobs are dispatched, its files are written."""
ROW_S: Final = Bounds(0.001, 0.0002, 0.003)
"""What each of its rows takes: it is read, checked, stored and recorded. Both as batches took whose engine takes no time, on two
cores: they count where the engine is quick."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a model stands now."""

    slots: float
    """How many jobs of batches its live workers run at once; those of one worker where none lives."""
    latency_s: float
    """Of one request, as the workers measured it or the fleet says."""
    ahead_s: float = 0.0
    """In so many seconds those slots would end all that waits."""
    share: float = 1.0
    """The part of the slots that a further batch gets as long as others wait."""
    workers: int = 1
    """That live; with none the times are those of the first one that comes."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane in which something waits for a model, and the weights of those whose it is."""

    tenant_id: int
    project_id: int
    tenant_weight: int
    project_weight: int


def share_beside(own: Lane, waiting: Sequence[Lane]) -> float:
    """The part of a model that a further lane gets: tenants share it by weight, then their projects, then lanes (`fairness.Shares`)."""
    tenants = {lane.tenant_id: lane.tenant_weight for lane in (*waiting, own)}
    projects = {lane.project_id: lane.project_weight for lane in (*waiting, own) if lane.tenant_id == own.tenant_id}
    lanes = 1 + sum(lane.project_id == own.project_id for lane in waiting)
    return own.tenant_weight / sum(tenants.values()) * own.project_weight / sum(projects.values()) / lanes


def span(work_s: Bounds, jobs: int, load: Load) -> Bounds:
    """How long a model takes for jobs that keep one slot busy for `work_s`, in seconds.

    What waits there runs beside them until one of the two is done; at worst all of it goes first.
    """
    slots = max(1.0, min(load.slots, jobs))
    expected, low, high = (seconds / slots for seconds in work_s)
    beside = 1 / load.share - 1
    return Bounds(
        expected + min(load.ahead_s, expected * beside), low + min(load.ahead_s, low * beside), high + load.ahead_s
    )


def whole_span(spans: Sequence[Bounds], jobs: int) -> Bounds:
    """How long a batch takes, of which each model takes so long for its part: until the last of them is done, and our own work beside."""
    if not jobs:
        return Bounds(0.0, 0.0, 0.0)
    engines = (max(values) for values in zip(*spans, strict=True))
    return Bounds(*(engine + batch + jobs * row for engine, batch, row in zip(engines, BATCH_S, ROW_S, strict=True)))
