"""The manifests of docs/deploy/kubernetes: valid by Kubernetes' own schemas, hardened, and in step with settings and commands."""

from __future__ import annotations

import os
import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

import orchestrator
from orchestrator import fleet, pulse, telemetry
from orchestrator.settings import Settings
from orchestrator.store.session import Database
from tests.docs_check import refusal

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "docs/deploy/kubernetes"
OLDEST: Final = "1.34"
"""The first release in which every field used here is stable (`preStop.sleep`)."""
CLOSING_S: Final = 30
"""What a process may take behind `stop_within_s`: recording what is done and closing its engine."""
MANIFESTS: Final[list[dict[str, Any]]] = [
    one for path in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text("utf-8"))
]
BY_NAME: Final = {(one["kind"], one["metadata"]["name"]): one for one in MANIFESTS}
SETTINGS: Final[dict[str, str]] = BY_NAME["ConfigMap", "rightsize-settings"]["data"]
FLEET: Final = fleet.parse(
    tomllib.loads(BY_NAME["ConfigMap", "rightsize-fleet"]["data"]["rightsize.toml"]), "rightsize-fleet"
).fleet
PODS: Final = {
    name: one["spec"]["template"]["spec"] for (kind, name), one in BY_NAME.items() if kind in ("Deployment", "Job")
}
CONTAINERS: Final[dict[str, dict[str, Any]]] = {name: pod["containers"][0] for name, pod in PODS.items()}
WORKERS: Final = [name for name, one in CONTAINERS.items() if one["args"][0] == "worker"]
PULSED: Final = [*WORKERS, "rightsize-orchestrator", "rightsize-intake"]
each_pod = pytest.mark.parametrize("name", sorted(PODS))
each_worker = pytest.mark.parametrize("name", WORKERS)


@pytest.mark.parametrize("release", [OLDEST, kubernetes_validate.latest_version()])
def test_every_manifest_is_what_kubernetes_takes_with_no_field_that_it_does_not_know(release: str) -> None:
    ours = [one for one in MANIFESTS if one["kind"] != "ScaledObject"]
    for one in ours:
        kubernetes_validate.validate(one, release, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError, match="replicsa"):
        kubernetes_validate.validate({**ours[1], "replicsa": 1}, release, strict=True)
    assert set(PODS) == {"rightsize-migrate", "rightsize-orchestrator", "rightsize-api", "rightsize-intake",
                         "rightsize-house-slm", "rightsize-house-llm"}  # fmt: skip


@each_pod
def test_every_pod_runs_locked_down_as_the_images_user(name: str) -> None:
    pod, one = PODS[name], CONTAINERS[name]
    assert len(pod["containers"]) == 1
    inside = pod["securityContext"]
    assert (inside["runAsNonRoot"], inside["runAsUser"], inside["fsGroup"]) == (True, 10001, 10001)
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text("utf-8")
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert one["resources"]["limits"]["memory"]
    assert one["image"].split("/")[-1] in {
        f"{kind}:{orchestrator.__version__}" for kind in ("rightsize", "rightsize-gpu")
    }


@each_pod
def test_every_command_is_one_that_the_command_line_takes_and_every_model_one_of_the_fleet(name: str) -> None:
    from orchestrator.cli.app import app

    args = CONTAINERS[name]["args"]
    assert refusal(get_command(app), args) is None
    for model in args[args.index("--model") + 1 :] if "--model" in args else ():
        gpu = FLEET.named(model).engine == "vllm"
        assert name == f"rightsize-{model}"
        assert ("rightsize-gpu" in CONTAINERS[name]["image"]) == gpu
        assert ("nvidia.com/gpu" in CONTAINERS[name]["resources"]["limits"]) == gpu


def test_every_model_of_the_fleet_has_a_deployment_of_its_own() -> None:
    assert sorted(WORKERS) == sorted(f"rightsize-{model.name}" for model in FLEET.models)


@each_pod
def test_every_setting_is_one_that_there_is_and_no_password_is_among_them(name: str) -> None:
    assert CONTAINERS[name]["envFrom"] == [{"configMapRef": {"name": "rightsize-settings"}}]
    own = {row["name"]: row for row in CONTAINERS[name].get("env", [])}
    ours = {key for key in {**SETTINGS, **own} if key.startswith("RIGHTSIZE_")}
    assert {key.removeprefix("RIGHTSIZE_").lower() for key in ours} <= set(Settings.model_fields)
    for key, value in {**SETTINGS, **{key: row.get("value", "") for key, row in own.items()}}.items():
        assert not re.search(r"PASSWORD|SECRET|TOKEN", key) or not value or value.startswith("/run/secrets/"), key
        assert not re.search(r"://[^/@]*:[^/@]+@", value), f"{key} holds a password"


@each_pod
def test_every_path_of_the_settings_is_mounted_and_every_volume_is_one_that_there_is(name: str) -> None:
    volumes = {one["name"]: one for one in PODS[name]["volumes"]}
    places = {one["mountPath"]: volumes[one["name"]] for one in CONTAINERS[name]["volumeMounts"]}
    named = [path for value in SETTINGS.values() for path in re.findall(r"(?:^|=)(/[\w/.-]+)", value)]
    assert len(named) >= 7
    for path in named:
        assert any(Path(path).is_relative_to(place) for place in places), f"{path} is not mounted"
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            claim = BY_NAME["PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]]
            assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    if name in WORKERS:
        assert "persistentVolumeClaim" in places["/var/cache/rightsize"]


def test_the_settings_load_with_the_secrets_that_the_page_makes_and_verify_both_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in SETTINGS.items():
        monkeypatch.setenv(key, re.sub(r"(/run/secrets/rightsize|/etc/rightsize/fleet)", str(tmp_path), value))
    (tmp_path / "rightsize.toml").write_text(BY_NAME["ConfigMap", "rightsize-fleet"]["data"]["rightsize.toml"])
    (tmp_path / "database_password").write_text("p@ss/1")
    (tmp_path / "redis_password").write_text("p@ss/2\n")
    settings = Settings.load()
    url = Database(settings, "app").engine.url
    assert (url.password, url.query["sslmode"]) == ("p@ss/1", "verify-full")
    assert settings.require_redis() == "rediss://:p%40ss%2F2@redis.example.com:6379/0"
    assert str(settings.redis_ca_file) == url.query["sslrootcert"]
    page = (FOLDER.parent / "kubernetes.md").read_text("utf-8")
    for name in ("database_password", "redis_password", "ca.pem"):
        assert name in page


@each_pod
def test_every_process_gets_longer_to_stop_than_it_takes(name: str) -> None:
    if name == "rightsize-migrate":
        return
    own = {row["name"]: row.get("value") for row in CONTAINERS[name].get("env", [])}
    stop_within_s = float(own.get("RIGHTSIZE_STOP_WITHIN_S") or Settings.model_fields["stop_within_s"].default)
    before_s = CONTAINERS[name].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert PODS[name]["terminationGracePeriodSeconds"] >= before_s + stop_within_s + CLOSING_S


@pytest.mark.parametrize("name", PULSED)
def test_probes_tell_loading_from_dead_by_the_age_of_the_ready_file(name: str) -> None:
    one = CONTAINERS[name]
    start, ready, live = (one[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    for probe in (start, ready, live):
        assert SETTINGS["RIGHTSIZE_READY_FILE"] in probe["exec"]["command"][2]
    heartbeat_s = Settings.model_fields["heartbeat_s"].default
    assert age_s(ready) > 3 * heartbeat_s
    assert age_s(live) >= 10 * age_s(ready)
    if name == "rightsize-house-llm":
        assert start["failureThreshold"] * start["periodSeconds"] >= 1800


@pytest.mark.parametrize("name", PULSED)
def test_the_probes_commands_say_what_they_should(name: str, tmp_path: Path) -> None:
    settings = Settings(ready_file=tmp_path / "ready")

    def passes(kind: str) -> bool:
        shell, flag, script = CONTAINERS[name][f"{kind}Probe"]["exec"]["command"]
        script = script.replace(SETTINGS["RIGHTSIZE_READY_FILE"], str(settings.ready_file))
        return subprocess.run([shell, flag, script], stderr=subprocess.DEVNULL, check=False).returncode == 0

    assert not passes("startup")
    pulse.beat(settings)
    assert all(map(passes, ("startup", "readiness", "liveness")))
    for minutes, ready, live in ((3, False, True), (20, False, False)):
        then = time.time() - 60 * minutes
        os.utime(tmp_path / "ready", (then, then))
        assert (passes("readiness"), passes("liveness")) == (ready, live)


def age_s(probe: dict[str, Any]) -> int:
    """The greatest age that a probe lets a file have."""
    found = re.search(r"-mmin -(\d+)", probe["exec"]["command"][2])
    assert found is not None
    return 60 * int(found[1])


def test_the_api_is_asked_over_http_on_paths_that_there_are() -> None:
    from orchestrator.api.health import router

    paths = {route.path for route in router.routes}  # type: ignore[attr-defined]
    one = CONTAINERS["rightsize-api"]
    assert one["startupProbe"]["httpGet"]["path"] == one["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert one["readinessProbe"]["httpGet"]["path"] == "/readyz"
    (port,) = one["ports"]
    assert one["args"][-1] == str(port["containerPort"])
    told = BY_NAME["Deployment", "rightsize-api"]["spec"]["template"]["metadata"]["annotations"]
    assert told == {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}
    assert {"/livez", "/readyz", "/metrics"} <= paths
    labels = BY_NAME["Deployment", "rightsize-api"]["spec"]["template"]["metadata"]["labels"]
    assert BY_NAME["Service", "rightsize-api"]["spec"]["selector"].items() <= labels.items()


def test_gpu_workers_scale_on_seconds_of_queued_work_and_keep_their_number_when_it_cannot_be_read() -> None:
    scaled = BY_NAME["ScaledObject", "rightsize-house-llm"]["spec"]
    assert "replicas" not in BY_NAME["Deployment", scaled["scaleTargetRef"]["name"]]["spec"]  # KEDA's to say
    (trigger,) = scaled["triggers"]
    found = re.fullmatch(r'max\((\w+)\{model="(.+)"\}\)', trigger["metadata"]["query"])
    assert found is not None
    assert found[1] in telemetry.METRICS
    assert FLEET.named(found[2]).name == "house-llm"
    # The figure does not fall as workers are added, so it is shared among them.
    assert trigger["metricType"] == "AverageValue"
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert scaled["fallback"]["behavior"] == "currentReplicas"
    assert 0 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"]
