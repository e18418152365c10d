"""PostgreSQL and Redis over TLS: the whole path works, and whoever cannot show the right certificate is never spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.api.answers import Answers
from orchestrator.broker import Broker, make_celery
from orchestrator.errors import InvalidConfig
from orchestrator.patience import retrying
from orchestrator.settings import Settings
from orchestrator.store.migrate import check_schema, migrate
from orchestrator.store.session import Database
from tests import own_servers, tls
from tests.conftest import PACE
from tests.stack import ROOT, Stack, chat, rows
from tests.tls import Certificates

Make = Callable[..., Settings]


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return tls.certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def ports(certs: Certificates) -> Iterator[tuple[own_servers.Server, int, int]]:
    """A PostgreSQL, and the ports with TLS in front of it and of a Valkey."""
    with (
        own_servers.postgres(own_servers.embedded()) as server,
        own_servers.valkey() as valkey,
        tls.in_front_of(server.port, certs, asks_first=True) as database,
        tls.in_front_of(urlsplit(valkey.url).port or 0, certs) as redis,
    ):
        server.run("CREATE DATABASE over_tls")
        yield server, database, redis


@pytest.fixture
def make(ports: tuple[own_servers.Server, int, int], certs: Certificates, tmp_path: Path) -> Make:
    """Settings as docs/deploy/several-hosts.md gives them, with another host or authority where one is asked for."""
    _, database, redis = ports

    def made(host: str = tls.NAME, authority: Path | None = certs.authority, **more: object) -> Settings:
        at = own_servers.Server(database, 0).url("over_tls").replace("127.0.0.1", host)
        root = f"&sslrootcert={authority}" if authority else ""
        return Settings.load({
            **PACE,
            "database_url": f"{at}?sslmode=verify-full{root}",
            "redis_url": f"rediss://:s3cret@{host}:{redis}/0",
            "redis_ca_file": authority,
            "data_dir": tmp_path,
            "config": ROOT / "tests/fleet.toml",
            **more,
        })  # fmt: skip

    return made


def test_batches_and_interactive_jobs_run_over_tls_from_end_to_end(make: Make) -> None:
    settings = make()
    owner = Database(settings, "owner", connections=1)
    migrate(owner)
    owner.close()
    with Stack(settings) as stack:
        stack.orchestrator()
        stack.worker()
        batch = stack.submit(rows(20))
        assert stack.wait(batch).final["completed"] == 20
        job = stack.submit_now(chat("Hello"))
        reply = asyncio.run(_answer(settings, job.public_id))
        assert reply
        assert stack.wait_job(job.public_id).state == 10
        stack.must_hold(batch, 20)


async def _answer(settings: Settings, public_id: object) -> bool:
    answers = Answers(settings)
    try:
        _, told = await answers.follow(public_id, "0", 20.0)  # type: ignore[arg-type]
        return bool(told)
    finally:
        await answers.close()


@pytest.mark.parametrize("fault", ["another authority", "no authority", "another name"])
def test_a_server_with_the_wrong_certificate_is_refused_by_every_client_with_the_remedy(
    fault: str, make: Make, certs: Certificates
) -> None:
    settings = {
        "another authority": lambda: make(authority=certs.stranger),
        "no authority": lambda: make(authority=None),
        "another name": lambda: make(host="127.0.0.1"),
    }[fault]()
    broker = Broker(settings)
    with pytest.raises(InvalidConfig, match="RIGHTSIZE_REDIS_CA_FILE"):
        broker.wait_until_up(20.0)
    broker.close()
    with (
        make_celery(settings) as app,
        app.connection() as connection,
        pytest.raises(Exception, match="CERTIFICATE_VERIFY"),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0)
    database = Database(settings, "orchestrator", connections=1)
    with pytest.raises(InvalidConfig, match="sslrootcert"):
        retrying(lambda: check_schema(database), 20.0)
    database.close()


@pytest.mark.parametrize(
    "changes, remedy",
    [
        ({"redis_url": "redis://:x@localhost:6379/0"}, "rediss://"),
        ({"redis_url": "rediss://:x@localhost:6379/0?ssl_cert_reqs=none"}, "Leave it out"),
        ({"redis_ca_file": Path("/none.pem")}, "No such file"),
        ({"redis_ca_file": ROOT / "README.md"}, "holds no certificate"),
    ],
)
def test_settings_that_would_not_be_safe_are_refused_before_anything_connects(
    changes: dict[str, object], remedy: str, make: Make
) -> None:
    with pytest.raises(InvalidConfig, match=remedy):
        make_celery(make(**changes))
