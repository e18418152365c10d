"""What cannot work is refused with a remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InvalidConfig
from orchestrator.local import account, folders
from orchestrator.local.instance import Instance
from orchestrator.local.postgres import Postgres

Attach = Callable[..., Instance]


def test_a_data_directory_that_is_a_file_is_refused(data_dir: Path) -> None:
    data_dir.parent.joinpath("file").write_text("")
    with pytest.raises(InvalidConfig, match="--data-dir"):
        folders.data_dir(data_dir.parent / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_directory_that_cannot_be_written_is_refused(data_dir: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"Permission denied.*--data-dir"):
        folders.data_dir(Path("/usr/rightsize-test"))
    data_dir.mkdir(mode=0o500)
    with pytest.raises(InvalidConfig, match=r"Permission denied.*--data-dir"):
        folders.data_dir(data_dir)


def test_a_folder_with_somebodys_files_is_no_data_directory(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidConfig, match=r"'thesis.txt' lies in it.*--data-dir"):
        folders.data_dir(data_dir)
    assert [path.name for path in data_dir.iterdir()] == ["thesis.txt"]
    (data_dir / "users.lock").touch()
    assert folders.data_dir(data_dir) == data_dir.resolve()
    fresh = data_dir.parent / "fresh"
    for name in ("blobs", "lost+found"):
        (fresh / name).mkdir(parents=True)
    folders.data_dir(fresh)


def test_a_path_that_is_too_long_is_refused(data_dir: Path) -> None:
    with pytest.raises(InvalidConfig, match="too long"):
        folders.data_dir(data_dir.joinpath(*["x" * 200] * 5))
    with pytest.raises(InvalidConfig, match="--data-dir"):
        folders.data_dir(data_dir / ("x" * 300))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_data_directory_of_somebody_else_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    os.chown(data_dir, 12345, 12345)
    with pytest.raises(InvalidConfig, match=r"belongs to user 12345.*--data-dir"):
        folders.data_dir(data_dir)


def test_a_missing_wheel_names_the_extra() -> None:
    with pytest.raises(InvalidConfig, match=r"rightsize\[embedded\]"):
        account.wheel_folder("no_such_server_wheel")


def test_data_of_another_postgres_is_refused(attach: Attach, data_dir: Path) -> None:
    folder = data_dir / "servers" / "postgres"
    folder.mkdir(parents=True)
    folder.joinpath("PG_VERSION").write_text("16\n")
    with pytest.raises(InvalidConfig, match=r"made by PostgreSQL 16.*--data-dir"):
        attach()


def test_a_socket_folder_that_somebody_planted_is_not_used(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = data_dir.parent / "t"
    base.mkdir()
    monkeypatch.setattr(folders, "_bases", lambda: [base])
    planted = folders.runtime_folder(data_dir, None)
    planted.rmdir()
    planted.symlink_to(data_dir.parent)
    with pytest.raises(InvalidConfig, match="not private to us"):
        folders.runtime_folder(data_dir, None)
    planted.unlink()
    planted.mkdir()
    planted.chmod(0o755)
    with pytest.raises(InvalidConfig, match="not private to us"):
        folders.runtime_folder(data_dir, None)


def test_sockets_go_to_a_path_that_is_short_enough(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = data_dir.parent / ("t" * 60)
    long.mkdir()
    short = data_dir.parent / "t"
    short.mkdir()
    monkeypatch.setattr(folders, "_bases", lambda: [long, short])
    assert folders.runtime_folder(data_dir, None).parent == short


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can copy for another account")
def test_binaries_out_of_the_servers_reach_are_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SHARED", data_dir.parent / "shared")
    monkeypatch.setattr(account, "can_reach", lambda _path: False)
    user = account.server_account()
    assert user
    postgres = Postgres(data_dir, data_dir, user)
    assert postgres.home.is_relative_to(data_dir.parent / "shared")
    shown = subprocess.run(
        [postgres.home / "bin" / "initdb", "--version"], user=user.uid, capture_output=True, text=True, check=True
    )
    assert "18." in shown.stdout
    assert Postgres(data_dir, data_dir, user).home == postgres.home


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_f21_a_full_disk_is_said_and_leaves_nothing_half_made(data_dir: Path) -> None:
    data_dir.mkdir()
    script = (
        f"mount -t tmpfs -o size=8m,mode=711 none {data_dir} && exec {sys.executable} -c '"
        "from pathlib import Path; from orchestrator.local import instance; from orchestrator.settings import Settings;"
        f'instance.attach(Settings(data_dir=Path("{data_dir}")), parts=[])\''
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, env=env, check=False)
    assert "is full: a new instance needs" in ended.stderr
    assert "Free some space" in ended.stderr
