"""The processes that make up an instance, as values: what runs, as whom, and how one knows that it is ready."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self

from orchestrator.local.account import Account

Kind = Literal["postgres", "valkey", "once", "key", "file", "http"]
"""How a part is known to be ready.

postgres, valkey: the server answers.
once: it ran to its end with code 0. key: the same, and it printed JSON with a `key`.
file: it touched the file named by RIGHTSIZE_READY_FILE, or lives still after `ready_within_s`.
http: GET /readyz on the instance's port answers 200.
"""

SERVERS, SCHEMA, SERVICES = 0, 1, 2
"""The stages of a start: each begins when all parts of the one before are ready."""

PORT: Final = "{port}"
"""Stands in a part's arguments for the port of the API, which the supervisor chooses."""

KILL_WITHIN_S: Final = 5.0
LOADS_WITHIN_S: Final = 900.0
"""How long a worker may load weights before it counts as up. One that is wrong ends by itself, and says why."""
LOADS_WEIGHTS: Final = frozenset({"vllm", "llamacpp"})
"""Engines whose start takes from seconds to many minutes, by the size of the weights and the speed of the disk."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the instance."""

    name: str
    argv: tuple[str, ...]
    kind: Kind = "file"
    stage: int = SERVICES
    env: dict[str, str] = field(default_factory=dict, repr=False)
    """Added to the supervisor's environment; for a server it is the whole one."""
    ready_within_s: float = 60.0
    stops: tuple[tuple[int, float], ...] = ((signal.SIGTERM, 25.0), (signal.SIGKILL, KILL_WITHIN_S))
    """The signals that end it, in order, with the seconds to wait after each."""
    orphan_signal: int = signal.SIGKILL
    """What the kernel sends it when the supervisor dies."""
    account: Account | None = None
    cwd: str | None = None
    socket: str | None = None
    """A socket that it cannot do without: if somebody cleans it away, the part is started again."""

    @property
    def runs_once(self) -> bool:
        """Whether it is meant to end."""
        return self.kind in {"once", "key"}

    @property
    def is_worker(self) -> bool:
        """Whether it runs jobs: it is started once a user needs that."""
        return self.name.startswith("worker-")

    @property
    def is_server(self) -> bool:
        """Whether it is PostgreSQL or Valkey."""
        return self.kind in {"postgres", "valkey"}

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        stops = tuple((int(number), float(within)) for number, within in data["stops"])
        account = Account(**data["account"]) if data["account"] else None
        return cls(**{**data, "argv": tuple(data["argv"]), "stops": stops, "account": account})


_ALL_SCOPES: Final = ("--scope", "submit", "--scope", "read", "--scope", "admin")


def standard(tiers: Sequence[str], *, stop_within_s: float, loading: Collection[str] = ()) -> tuple[Part, ...]:
    """The ordinary parts beside the servers: migrations, a key, orchestrator, API, intake and a worker for each tier.

    `loading` are the tiers whose workers load weights before they are ready.
    """
    stops = stops_within(stop_within_s)
    services = [
        Part("orchestrator", command("orchestrator"), stops=stops),
        Part("api", command("api", "--port", PORT), kind="http", stops=stops),
        Part("intake", command("intake"), stops=stops),
    ]
    services += [_worker(tier, stops, loads=tier in loading) for tier in tiers]
    return (
        Part("migrate", command("migrate", "--json"), kind="once", stage=SCHEMA, ready_within_s=240.0),
        # With the house disabled the servers still come up: `rightsize keys create --enable` needs them.
        Part(
            "key", command("keys", "create", "--name", "local", "--though-disabled", *_ALL_SCOPES, "--json"), kind="key"
        ),
        *services,
    )


def _worker(tier: str, stops: tuple[tuple[int, float], ...], *, loads: bool) -> Part:
    part = Part(f"worker-{tier}", command("worker", "--tier", tier), stops=stops)
    return replace(part, ready_within_s=LOADS_WITHIN_S) if loads else part


def command(*words: str) -> tuple[str, ...]:
    """The arguments of one of our own commands, run by this Python."""
    return (sys.executable, "-m", "orchestrator.cli", *words)


def stops_within(seconds: float) -> tuple[tuple[int, float], ...]:
    """SIGTERM, the time a part may take to finish (and 5 s to leave), then SIGKILL."""
    return ((signal.SIGTERM, seconds + 5.0), (signal.SIGKILL, KILL_WITHIN_S))
