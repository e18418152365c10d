"""What docs/deploy shows beside manifests: settings that there are, a file of them that loads, a unit that fits the worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from orchestrator.settings import Settings
from orchestrator.store.session import Database
from tests.docs_check import ROOT, Block, refusal, split

PAGES = sorted((ROOT / "docs/deploy").glob("*.md"))
HOSTS = ROOT / "docs/deploy/several-hosts.md"


def block(language: str, begins: str) -> Block:
    """The one block of the page on several hosts that begins so."""
    (found,) = [one for one in split(HOSTS)[0] if one.language == language and one.lines[0].startswith(begins)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_is_one_that_there_is(page: Path) -> None:
    named = set(
        re.findall(r"RIGHTSIZE_[A-Z_]*[A-Z]\b", page.read_text("utf-8").replace("RIGHTSIZE_..._PASSWORD_FILE", ""))
    )
    # Those of docker-compose.yml itself, such as the GPU of each worker, are read by Compose.
    composed = set(re.findall(r"\$\{(RIGHTSIZE_[A-Z_]*[A-Z])\b", (ROOT / "docker-compose.yml").read_text("utf-8")))
    assert {name.removeprefix("RIGHTSIZE_").lower() for name in named - composed} <= set(Settings.model_fields)


def test_the_file_of_settings_loads_and_verifies_both_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in block("text", "RIGHTSIZE_").lines:
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.replace("/etc/rightsize/", f"{tmp_path}/"))
    (tmp_path / "rightsize.toml").write_text((ROOT / "orchestrator/sample.toml").read_text("utf-8"))
    for name in ("database_password", "redis_password"):
        (tmp_path / name).write_text("p@ss\n")
    settings = Settings.load()
    url = Database(settings, "worker").engine.url
    assert (url.password, url.query["sslmode"], url.query["sslrootcert"]) == (
        "p@ss",
        "verify-full",
        f"{tmp_path}/ca.pem",
    )
    assert settings.require_redis() == "rediss://:p%40ss@redis.example.com:6379/0"
    named = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("rediss://rightsize@redis.example.com:6379/0")}
    )
    assert named.require_redis() == "rediss://rightsize:p%40ss@redis.example.com:6379/0"


def test_the_unit_starts_a_worker_and_gives_it_longer_to_stop_than_it_takes() -> None:
    from orchestrator.cli.app import app

    rows = [line.partition("=") for line in block("ini", "[Unit]").lines if "=" in line and not line.startswith("#")]
    unit = {name: value for name, _, value in rows}
    assert refusal(get_command(app), unit["ExecStart"].replace("%i", "house-llm").split()[1:]) is None
    given = dict(word.split("=", 1) for name, _, value in rows if name == "Environment" for word in value.split())
    assert float(unit["TimeoutStopSec"]) >= float(given["RIGHTSIZE_STOP_WITHIN_S"]) + 30
    assert unit["Restart"] == "always"
    ours = [name for name in given if name.startswith("RIGHTSIZE_")]
    assert {name.removeprefix("RIGHTSIZE_").lower() for name in ours} <= set(Settings.model_fields)
