"""The stack that tests of promotion run on: a specialist, a large model and a judge, on a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.settings import Settings
from tests.conftest import PACE, Servers
from tests.promotion.test_loop import FLEET
from tests.stack import Stack


@contextmanager
def promotion_stack(servers: Servers, place: Path, name: str) -> Iterator[Stack]:
    """A stack with the fleet of the loop, whose judge nobody serves; nothing is started yet."""
    fleet = place / "fleet.toml"
    fleet.write_text(FLEET.replace("{judge}", "http://127.0.0.1:9"))
    given = {
        **PACE, "database_url": servers.create_migrated(name), "redis_url": servers.redis_url, "data_dir": place, "config": fleet,
    }  # fmt: skip
    with Stack(Settings.load(given)) as made:
        made.broker.redis.flushdb()
        yield made
