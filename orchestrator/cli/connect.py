"""How a command reaches Rightsize: a remote service by URL, or the local instance of its data directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from orchestrator.cli.display import note
from orchestrator.client import Rightsize
from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """What a command talks to."""

    client: Rightsize
    lasts: bool
    """Whether it goes on when this command ends."""
    url: str
    api_key: str


@contextmanager
def connected(
    url: str | None, api_key: str | None, data_dir: Path | None, config: Path | None, *, workers: bool = True
) -> Iterator[Rightsize]:
    """A client of the remote service at `url`, or of the local instance, which is started if none runs, and said so.

    Without `workers` what is started runs no jobs: for a command that only reads.
    """
    with reached(url, api_key, data_dir, config, workers=workers) as service:
        yield service.client


@contextmanager
def reached(
    url: str | None, api_key: str | None, data_dir: Path | None, config: Path | None, *, workers: bool = True
) -> Iterator[Service]:
    """The same, for a command that must know whether the service outlives it."""
    if url:
        if not api_key:
            raise InvalidConfig(
                "A remote service needs a key: set RIGHTSIZE_API_KEY. The first one is made on the service's own machine, without --url "
                "and RIGHTSIZE_URL: `rightsize keys create --name NAME`."
            )
        with Rightsize(url, api_key, on_wait=note) as client:
            yield Service(client, lasts=True, url=url, api_key=api_key)
        return
    with (
        local_instance(settings_of(data_dir, config), workers=workers) as instance,
        Rightsize(instance.api_url, instance.api_key, on_wait=note) as client,
    ):
        yield Service(client, lasts=not instance.started, url=instance.api_url, api_key=instance.api_key)


def settings_of(data_dir: Path | None = None, config: Path | None = None, **flags: Any) -> Settings:
    """The settings of this command, flags first."""
    return Settings.load({"data_dir": data_dir.absolute() if data_dir else None, "config": config, **flags})


@contextmanager
def local_instance(settings: Settings, *, port: int | None = None, workers: bool = True) -> Iterator[Any]:
    """The local instance of the data directory, held for as long as the block runs."""
    from orchestrator.local.instance import attach  # a remote command needs nothing of it

    with attach(settings, port=port, on_progress=note, workers=workers) as instance:
        if instance.started:
            note(f"Started a local instance in {settings.data_dir} for as long as this command runs.")
        yield instance


@contextmanager
def with_servers(settings: Settings, *, workers: bool = True) -> Iterator[Settings]:
    """Settings whose database and Redis are known: the given ones, or those of the local instance.

    Where no fleet is named, it is the instance's: a command in another folder must not judge it by another one.
    """
    if settings.database_url is not None and settings.redis_url is not None:
        yield settings
        return
    with local_instance(settings, workers=workers) as instance:
        yield Settings.load(
            {
                "config": instance.config,
                **{name: getattr(settings, name) for name in settings.model_fields_set},
                "database_url": instance.database_url,
                "redis_url": instance.redis_url,
            }
        )


def server_command(name: str) -> Callable[..., Any]:
    """A command of the server's side; raises InvalidConfig where its libraries are not installed."""
    found = entry_points(group="rightsize.server_commands", name=name)
    if not found:
        raise InvalidConfig(
            f"The command {name} is not installed. Install Rightsize with pip, not by copying its folder."
        )
    try:
        command: Callable[..., Any] = next(iter(found)).load()
    except ModuleNotFoundError as error:
        raise InvalidConfig(
            f"This command needs {error.name}, which is not installed. Run: pip install 'rightsize[server,slm,embedded]'"
        ) from error
    return command
