"""`rightsize models check`: loads models in this process, asks them, measures them, and suggests limits and prices."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator import fleet
from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings
from workers.checking.one import examine
from workers.checking.report import Report

__all__ = ["check"]

Tell = Callable[[str, str], None]


def check(
    settings: Settings, name: str | None, *, write: bool, usd_per_hour: Decimal | None, seconds: float, on_progress: Tell
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Check every model of the fleet, or the one named, one after the other; yields a report as soon as a model is closed.

    With `write` what is suggested for a sound model goes into the rightsize.toml at once. `seconds` is the time of one
    level of the load. Raises InvalidConfig and UnknownModel before anything is loaded.
    """
    config = fleet.load(settings.config)
    named = config.fleet.models if name is None else (config.fleet.named(name),)
    chosen = tuple(config.placed(model) for model in named)
    target = settings.config if write else None
    if write and target is None:
        raise InvalidConfig(
            "There is no rightsize.toml to write to: this is the built-in sample fleet. Make one, and name it by --config."
        )
    if write:
        _check_writing()
    return _each(settings, chosen, target, usd_per_hour, seconds, on_progress)


def _each(
    settings: Settings, models: tuple[fleet.Model, ...], target: Path | None, usd_per_hour: Decimal | None,
    seconds: float, on_progress: Tell,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    for model in models:

        def tell(step: str, of: str = model.name) -> None:
            on_progress(of, step)

        with _output_apart():
            report = asyncio.run(examine(model, settings.blobs, usd_per_hour, seconds, tell))
        if target is not None and _may_be_written(report):
            from workers.checking.writing import write_suggestions

            changed = {key: value for key, value in report.suggested.items() if value != report.now[key]}
            write_suggestions(target, model.name, changed, report.rates)
            report.written = True
        yield report.as_dict()


def _may_be_written(report: Report) -> bool:
    return report.sound and bool(report.suggested) and not report.simulated


def _check_writing() -> None:
    import workers.checking.writing  # noqa: F401 - a missing library is said before the work and not after it


@contextmanager
def _output_apart() -> Iterator[None]:
    """Engines log to standard output, native ones past Python: it goes where notes go, so that ours stays ours."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
