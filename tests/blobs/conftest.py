"""Both places, and the server of the buckets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.blobs import BlobStore
from tests.blobs.places import Place, bucket, folder
from tests.s3 import S3Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serving() as running:
        yield running


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    return folder(tmp_path) if request.param == "folder" else bucket(server, monkeypatch)


@pytest.fixture
def blobs(place: Place) -> BlobStore:
    return place.blobs
