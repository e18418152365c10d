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
from tests.lasting import Lasting
from tests.stack import erase_stopped, until

HERE = Path(__file__).parent


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


@contextmanager
def up() -> Iterator[Place]:
    """A running instance."""
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
def place(lasting: Lasting, tmp_path: Path) -> Place:
    """A folder of the test's own, with the instance that all of them share."""
    return Place(tmp_path, lasting.get(HERE, "up", up).data_dir)
