"""A service that cannot be reached is named with its reason: at once where waiting cannot help, and before long otherwise."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from orchestrator.local import state
from orchestrator.local.probe import free_port
from tests.cli.place import Place, json_lines


@pytest.mark.parametrize(
    "url, key, words",
    [
        ("ftp://x", "rs_x", "must begin with http:// or https://"),
        ("nothing", "rs_x", "must begin with http:// or https://"),
        ("http://", "rs_x", "its host or port cannot be one"),
        ("http://127.0.0.1:99999", "rs_x", "its host or port cannot be one"),
        ("http://127.0.0.1:9", "rs_x\n", "The API key holds"),
        ("http://127.0.0.1:9", "rs_\udce9", "The API key holds"),
    ],
)
def test_what_can_never_be_reached_is_refused_at_once(url: str, key: str, words: str, empty: Place) -> None:
    assert words in empty.run("status", "--url", url, "--api-key", key, code=1).stderr


def test_tls_on_a_plain_port_is_refused_at_once(place: Place) -> None:
    instance = state.read(place.data_dir)
    assert instance is not None
    url = instance.api_url.replace("http:", "https:")
    done = place.run("status", "--url", url, "--api-key", "rs_x", code=1)
    assert "does not speak TLS. Use http://" in done.stderr
    assert "Trying again" not in done.stderr


def test_a_plain_url_of_a_port_that_speaks_tls_is_refused_at_once(empty: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02\x16")  # an alert, as TLS has them

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        told = empty.run("status", "--url", url, "--api-key", "rs_x", code=1).stderr
        thread.join(30)
    assert "is no HTTP server" in told


def test_a_refused_connection_is_tried_again_and_that_is_said_once_with_the_reason(empty: Place) -> None:
    began = time.monotonic()
    url = f"http://127.0.0.1:{free_port()}"
    told = empty.run("status", "--url", url, "--api-key", "rs_x", code=5).stderr
    assert told.count("Trying again.") == 1
    assert "Connection refused" in told.splitlines()[0]
    assert time.monotonic() - began < 60


def test_a_file_whose_name_is_not_text_is_submitted(place: Place) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (place.folder / name).write_text("What is this?")
    done = place.run("submit", name, "--wait", "--out", "-")
    assert [line["error"] for line in json_lines(done.stdout)] == [None]


def test_text_that_is_not_unicode_is_refused(place: Place) -> None:
    (place.folder / "a.txt").write_text("What is this?")
    bad = os.fsdecode(b"caf\xe9")
    place.run("explain", bad, code=1)
    place.run("status", bad, code=1)
    place.run("cancel", f"batch_{bad}", code=1)
    place.run("status", "../files", code=1)
