"""The Celery application of the workers. `celery -A workers.app worker -Q rightsize.llm,rightsize.llm.now` uses it as it is.

An entry point: the one module whose import reads the settings, since Celery wants an application object.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from celery import Celery
from celery.signals import celeryd_after_setup, worker_ready, worker_shutdown, worker_shutting_down

from orchestrator import heap, pulse
from orchestrator.broker import make_celery
from orchestrator.contracts import WRONG_CONFIG_EXIT, Tier
from orchestrator.errors import Broken, InvalidConfig, RightsizeError
from orchestrator.fleet import Fleet, Model, load
from orchestrator.flow.context import open_context
from orchestrator.patience import START_S
from orchestrator.settings import Settings
from orchestrator.telemetry import configure, log, log_fault
from workers.runtime import Runtime
from workers.tasks import register

THREADS: Final = 256
"""Dispatches that may wait here at once; they hold a thread each, once there are so many, and little else."""
CONNECTIONS: Final = 24
"""To the database: a thread holds one only while it claims."""

settings: Final = Settings.load()
app: Final[Celery] = make_celery(settings)
app.conf.worker_concurrency = THREADS
_runtimes: Final[list[Runtime]] = []
_faults: Final[list[RightsizeError]] = []
"""Why this process could not start."""
register(app, _runtimes)


def main(tiers: Sequence[Tier], names: Sequence[str] = ()) -> None:
    """Run a worker for the queues of all models of some tiers, and of some models by name, until it is told to stop."""
    fleet = load(settings.config).fleet
    named = [fleet.named(name) for name in names]
    models = [model for model in fleet.models if model.tier in tiers or model in named]
    missing = [tier for tier in tiers if not fleet.of_tier(tier)]
    if missing:
        raise InvalidConfig(
            f"The fleet has no model of tier {', '.join(missing)}. It serves: {', '.join(fleet.tiers)}."
        )
    queues = [fleet.queue_of(model, interactive=now) for model in models for now in (False, True)]
    app.worker_main(
        [
            "worker",
            "-Q",
            ",".join(queues),
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel",
            "WARNING",
        ]
    )
    # Celery's own command line tells them; called from here it ends as if all were well.
    if _faults:
        raise _faults[0]


def models_of(fleet: Fleet, queues: Sequence[str]) -> list[Model]:
    """The models whose queues a worker consumes; raises InvalidConfig for a worker that would serve none."""
    found = [
        model
        for model in fleet.models
        if fleet.queue_of(model) in queues or fleet.queue_of(model, interactive=True) in queues
    ]
    if not found:
        known = ", ".join(fleet.queue_of(model) for model in fleet.models)
        raise InvalidConfig(
            f"No model has one of the queues {', '.join(queues)}. Give -Q some of: {known} (and their .now)."
        )
    return found


@celeryd_after_setup.connect
def _start(instance: Any, **_: object) -> None:
    """Load the engines before the first message is taken."""
    configure(settings.log_level, settings.log_format)
    pulse.begin(settings)
    try:
        context = open_context(settings, "worker", connections=CONNECTIONS, wait_s=START_S)
        context.broker.wait_until_up(START_S)
        config = context.config
        queues = list(instance.app.amqp.queues.consume_from)
        models = models_of(config.fleet, queues)
        now = [queue for one in models if (queue := config.fleet.queue_of(one, interactive=True)) in queues]
        # Ours to read (workers/now.py): Celery keeps to the others.
        instance.app.amqp.queues.deselect(now)
        runtime = Runtime(context, [config.placed(model) for model in models], _leave, now)
        runtime.start()
    except RightsizeError as error:
        _faults.append(error)
        sys.stderr.write(f"The worker cannot start: {error.message}\n")
        sys.exit(WRONG_CONFIG_EXIT if isinstance(error, InvalidConfig) else 1)
    except Exception as error:
        # Celery swallows what a signal handler raises, and would go on without engines.
        log_fault("pass_failed", error)
        _faults.append(Broken("The worker could not start: its log says where it failed. This is a bug: report it."))
        sys.exit("The worker cannot start: the log says where it failed. This is a bug: report it.")
    _runtimes.append(runtime)


def _leave(why: str) -> None:
    """Stop in order since an engine died, and end with a fault, so that whoever supervises this process starts it again."""
    if not _faults:
        _faults.append(Broken(f"The worker leaves: {why}"))
        os.kill(os.getpid(), signal.SIGTERM)


@worker_ready.connect
def _ready(**_: object) -> None:
    heap.freeze()
    log("started", part="worker")


@worker_shutting_down.connect
def _stopping(**_: object) -> None:
    for runtime in _runtimes:
        runtime.begin_stop()


@worker_shutdown.connect
def _stopped(**_: object) -> None:
    for runtime in _runtimes:
        runtime.stop()
    _runtimes.clear()
