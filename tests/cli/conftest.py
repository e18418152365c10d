"""A real instance for the tests of commands, and empty data directories for those that start their own."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.place import WITHIN_S, Place
from tests.stack import erase_stopped, until


@contextmanager
def new_place() -> Iterator[Place]:
    """A data directory of its own, of which nothing is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as folder:
        work = Path(folder) / "work"
        work.mkdir()
        place = Place(work, Path(folder) / "data")
        yield place
        erase_stopped(place.data_dir)


@pytest.fixture
def empty() -> Iterator[Place]:
    """A place where nothing runs."""
    with new_place() as place:
        yield place


@pytest.fixture(scope="session")
def _up(_clean_environment: None) -> Iterator[Place]:
    with new_place() as place:
        log = place.folder / "up.log"
        with log.open("w") as output:
            process = place.start("up", stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            until(lambda: process.poll() is not None or "Rightsize is up" in log.read_text("utf-8"), WITHIN_S, "up")
            assert process.poll() is None, log.read_text("utf-8")
            yield place
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(WITHIN_S) == 0, log.read_text("utf-8")


@pytest.fixture
def place(_up: Place, tmp_path: Path) -> Place:
    """A folder of the test's own, with the instance that all of them share."""
    return Place(tmp_path, _up.data_dir)
