"""Commands that run or look after the servers: up, doctor, migrate, orchestrator, api, intake, worker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.connect import local_instance, server_command, settings_of, with_servers
from orchestrator.cli.display import complain, note, print_json, show_findings, show_instance
from orchestrator.cli.options import Config, DataDir, json_flag
from orchestrator.contracts import WRONG_CONFIG_EXIT, Tier
from orchestrator.errors import InvalidConfig
from orchestrator.stopping import on_signals

ENDS_WITHIN_S: Final = 60.0
"""How long the servers may take to end, once the parts that use them have."""
LOOK_S: Final = 0.1


def up(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="The API's port on 127.0.0.1 (default: any free one)."),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Run everything on this machine: servers, orchestrator, API and a worker for each tier. Ends in order with Ctrl-C.

    Where an instance of the data directory runs already, this uses it and keeps it up.
    """
    stop = threading.Event()
    with local_instance(settings_of(data_dir, config), port=port) as instance:
        # Only now: a signal that comes earlier ends the start itself.
        on_signals(stop)
        show_instance(instance)
        instance.keep(stop, on_problem=note)
    if _is_used(instance.data_dir):
        note(f"Left. The instance goes on for its other users, at {instance.api_url}.")
    else:
        note("Stopping. Jobs that are not done stay in Postgres and go on with the next start.")
        stop.clear()
        _await_end(instance, stop)


def _await_end(instance: Any, stop: threading.Event) -> None:
    """Stay until the servers have ended: whoever copies the data directory next must find them at rest.

    Another signal ends the waiting, not the servers' own end.
    """
    within_s = instance.state.stop_within_s + ENDS_WITHIN_S
    until = time.monotonic() + within_s
    while instance.alive():
        if stop.wait(LOOK_S) or time.monotonic() > until:
            logs = instance.data_dir / "logs"
            note(f"Not waited until the servers have ended: they still stop. What they do is in {logs}.")
            return
        if _is_used(instance.data_dir):
            note(f"Another command came: the instance goes on for it, at {instance.api_url}.")
            return


def _is_used(data_dir: Path) -> bool:
    """Whether others hold the instance that we have let go: nobody has its users' lock alone, neither we nor its supervisor."""
    from orchestrator.local import locks

    try:
        lock = locks.open_lock(data_dir / locks.USERS)
    except FileNotFoundError:  # the data directory was removed: nobody can hold it
        return False
    try:
        return not locks.try_exclusive(lock) and locks.try_shared(lock)
    finally:
        os.close(lock)


def doctor(
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("`holds` and `findings`, each with `name`, `holds`, `detail`")] = False,
) -> None:
    """Look at servers, versions, schema, fleet, workers and every invariant; leaves with 0 only when everything holds.

    A line with `no` is wrong and says what to do; one with `ok` may tell something, too. Where services run apart, give it their
    settings: the same variables and the same rightsize.toml.
    """
    with with_servers(settings_of(data_dir, config)) as settings:
        findings = server_command("doctor")(settings)
    if as_json:
        print_json({"holds": all(one["holds"] for one in findings), "findings": findings})
    else:
        show_findings(findings)
    if not all(one["holds"] for one in findings):
        raise typer.Exit(1)


def migrate(
    data_dir: DataDir = None, as_json: Annotated[bool, json_flag("`before`, `after`, `partitions`")] = False
) -> None:
    """Bring the database to this release's schema. Safe to run twice, and by two processes at once."""
    with with_servers(settings_of(data_dir), workers=False) as settings:
        done = server_command("migrate")(settings)
    if as_json:
        print_json(done)
    elif done["before"] == done["after"]:
        note(f"The schema is at {done['after']} already.")
    else:
        note(f"The schema went from {done['before'] or 'nothing'} to {done['after']}.")


def orchestrator(data_dir: DataDir = None, config: Config = None) -> None:
    """Run an orchestrator: it reads batches, assigns jobs, recovers what was lost and finishes batches."""
    with _service(), with_servers(settings_of(data_dir, config)) as settings:
        server_command("orchestrator")(settings)


def api(
    host: Annotated[str, typer.Option("--host", help="The address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to serve on.")] = 8000,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Serve the HTTP API."""
    with _service(), with_servers(settings_of(data_dir, config)) as settings:
        server_command("api")(settings, host, port)


def intake(data_dir: DataDir = None, config: Config = None) -> None:
    """Run an intake: it takes jobs that other services hand in as Celery messages.

    Several may run at once, anywhere. `rightsize refusals` shows what they refused.
    """
    with _service(), with_servers(settings_of(data_dir, config)) as settings:
        server_command("intake")(settings)


def worker(
    tier: Annotated[
        list[Tier] | None,
        typer.Option("--tier", help="A tier to serve, with all its models; may be given several times."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="One model to serve, by its name; may be given several times.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Run a Celery worker for the queues of one or more tiers or models.

    It works for the servers that RIGHTSIZE_DATABASE_URL and RIGHTSIZE_REDIS_URL name, else for the local instance's.

    Examples:
      rightsize worker --tier llm --tier rlm
      rightsize worker --model house-llm
    """
    if not (tier or model):
        raise typer.BadParameter("say what to serve with --tier or --model, such as --tier llm")
    with _service(), with_servers(settings_of(data_dir, config)) as settings:
        _hand_on(settings)
        server_command("worker")(tier or (), model or ())


@contextmanager
def _service() -> Iterator[None]:
    """End a service whose configuration is wrong with a code of its own, so that its supervisor need not try it again."""
    try:
        yield
    except InvalidConfig as error:
        complain(error.message)
        raise typer.Exit(WRONG_CONFIG_EXIT) from None


def _hand_on(settings: Any) -> None:
    """Put the settings where the worker's Celery application reads them when it is imported."""
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            os.environ[f"RIGHTSIZE_{name.upper()}"] = text
