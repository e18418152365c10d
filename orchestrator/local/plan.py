"""What a user tells the supervisor that it starts: all of it decided, so that mistakes show at the user's terminal."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestrator.errors import InvalidConfig
from orchestrator.local.parts import LOADS_WEIGHTS, Part, standard

if TYPE_CHECKING:
    from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of a supervisor. It travels through a pipe, never in arguments, as it holds secrets."""

    launch: str
    port: int
    """0 for any free one, the former run's if it is free."""
    database_url: str = field(default="", repr=False)
    """A given server's; empty to run our own. `redis_url` likewise."""
    redis_url: str = field(default="", repr=False)
    given: str = ""
    config: str = ""
    config_digest: str = ""
    stop_within_s: float = 30.0
    env: dict[str, str] = field(default_factory=dict, repr=False)
    parts: tuple[Part, ...] = ()

    def to_json(self) -> str:
        """The text for the pipe."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        return cls(**{**data, "parts": tuple(Part.from_dict(part) for part in data["parts"])})


def plan(settings: Settings, port: int | None, parts: Sequence[Part] | None) -> Plan:
    """The plan for an instance with these settings; raises InvalidConfig for a fleet that cannot be read."""
    if parts is None:
        from orchestrator import fleet  # not needed to attach

        served = fleet.load(settings.config).fleet
        loading = {str(model.tier) for model in served.models if model.engine in LOADS_WEIGHTS}
        parts = standard([str(tier) for tier in served.tiers], stop_within_s=settings.stop_within_s, loading=loading)
    return Plan(
        launch=secrets.token_hex(8),
        port=port or 0,
        database_url=settings.database_url.get_secret_value() if settings.database_url else "",
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else "",
        given=given_digest(settings),
        config=config_path(settings),
        config_digest=config_digest(config_path(settings)),
        stop_within_s=settings.stop_within_s + 5.0,
        env=environment(settings),
        parts=tuple(parts),
    )


def as_last_time(settings: Settings, last: str, data_dir: Path) -> Settings:
    """The settings themselves where they name a configuration; else with that of the instance's last run, if it had one.

    Otherwise a command in another folder would start it on another fleet, and what is queued would wait for models that
    nobody serves. Raises InvalidConfig if the file is gone.
    """
    if settings.config is not None or not last:
        return settings
    if not Path(last).is_file():
        raise InvalidConfig(
            f"The instance of {data_dir} last ran with {last}, which is gone: its queued jobs wait for that fleet. "
            "Put the file back, or name the fleet that it is to have by --config (RIGHTSIZE_CONFIG)."
        )
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return settings.load({**given, "data_dir": data_dir, "config": Path(last)})


def environment(settings: Settings) -> dict[str, str]:
    """Every setting that was given, from wherever, as the variables that hand it on to the parts."""
    from pydantic import SecretStr  # the supervisor reads plans without it

    given = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            given[f"RIGHTSIZE_{name.upper()}"] = os.path.abspath(text) if isinstance(value, Path) else text  # noqa: PTH100
    return given


def config_path(settings: Settings) -> str:
    """The absolute path of the configuration, or nothing for the built-in one."""
    return str(settings.config.absolute()) if settings.config else ""


def config_digest(config: str) -> str:
    """A digest of a configuration's text, by which a change since the start shows; empty for the built-in fleet."""
    try:
        return _digest(Path(config).read_bytes()) if config else ""
    except OSError:
        return ""


def given_digest(settings: Settings) -> str:
    """A digest of the given servers' URLs, or nothing where none is given."""
    urls = [url.get_secret_value() if url else "" for url in (settings.database_url, settings.redis_url)]
    return _digest("\n".join(urls).encode()) if any(urls) else ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
