"""The two places in which blobs lie, and how to see what is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.blobs import BlobStore, open_blobs
from orchestrator.settings import MIB, Settings
from tests.s3 import S3Server

LARGE = bytes(range(256)) * (9 * MIB // 256) + b"end"
"""More than one part of an upload, and more than one piece of a download."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store, its settings, and how to see whether a dead or failed writer left something."""

    blobs: BlobStore
    settings: Settings
    left_over: Callable[[], list[str]]
    put_strangers: Callable[[], None]


def folder(tmp_path: Path) -> Place:
    settings = Settings.load({"blob_dir": tmp_path / "blobs"})

    def put_strangers() -> None:
        for name in ("UPPER", "._x", ".writing-1"):
            (settings.blobs / "inputs" / name).write_bytes(b"strange")

    return Place(
        open_blobs(settings),
        settings,
        lambda: [path.name for path in settings.blobs.rglob(".writing-*")],
        put_strangers,
    )


def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    name = server.new_bucket()
    settings = Settings.load({"blob_url": f"s3://{name}/some/prefix"})

    def put_strangers() -> None:
        for key in ("inputs/UPPER", "inputs/._x", "inputs/.writing-1"):
            server.put(name, f"some/prefix/{key}")
        server.put(name, "inputs/beside-the-prefix")

    return Place(open_blobs(settings), settings, lambda: server.unfinished(name), put_strangers)


def listed(blobs: BlobStore, prefix: str = "inputs") -> set[str]:
    return {one.key for one in blobs.keys(prefix)}


def whole(blobs: BlobStore, key: str) -> bytes:
    return b"".join(blobs.pieces(key, 0, blobs.size(key)))
