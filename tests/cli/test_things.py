"""Files and webhooks by command, and completion that is quick, silent, and starts nothing."""

from __future__ import annotations

import http.server
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from orchestrator.settings import Settings
from tests.cli.place import RIGHTSIZE, Place
from tests.serving import Api, serve
from tests.stack import Stack


def test_files_are_listed_read_and_deleted(place: Place) -> None:
    batch = orjson.loads(place.run("status", place.batch("One", "Two"), "--json").stdout)
    output, source = batch["output_file_id"], batch["input_file_id"]
    found = [one["id"] for one in orjson.loads(place.run("files", "list", "--json").stdout)]
    assert {output, source} <= set(found)
    assert output not in place.run("files", "list", "--purpose", "batch").stdout
    assert output in place.run("files", "list", "--purpose", "batch_output", "--limit", "1").stdout
    place.run("files", "get", output, "--out", "output.jsonl")
    assert place.run("files", "get", output).stdout == (place.folder / "output.jsonl").read_text()
    assert "is a folder" in place.run("files", "get", output, "--out", ".", code=2).stderr
    assert f"{source}  deleted" in place.run("files", "delete", source).stdout
    assert "no file" in place.run("files", "get", source, code=1).stderr
    assert orjson.loads(place.run("files", "delete", output, "--json").stdout)[0]["deleted"] is True


@pytest.fixture
def settings(settings: Settings) -> Settings:
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings.load({**given, "webhook_networks": "127.0.0.0/8"})


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    with serve(stack) as api:
        yield api


@pytest.fixture
def receiver() -> Iterator[str]:
    """The URL of a real HTTP server on the loopback that takes every event."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(500 if self.path == "/bad" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_webhooks_are_made_tried_and_replayed_at_a_remote_service(api: Api, empty: Place, receiver: str) -> None:
    there = ["--url", api.url, "--api-key", api.key]
    assert "No endpoints" in empty.run("webhooks", "list", *there).stderr
    made = empty.run("webhooks", "create", f"{receiver}/good", "--name", "mine", *there)
    endpoint = made.stdout.split()[0]
    assert "signing secret  whsec_" in made.stdout
    listed = orjson.loads(empty.run("webhooks", "list", "--json", *there).stdout)
    assert [(one["id"], len(one["event_types"])) for one in listed] == [(endpoint, 4)]
    assert "taken by the receiver, with 200" in empty.run("webhooks", "test", endpoint, *there).stdout
    sent = orjson.loads(empty.run("webhooks", "deliveries", "--endpoint", endpoint, "--json", *there).stdout)
    assert [one["event_type"] for one in sent] == ["rightsize.webhook.test"]
    assert "pending" in empty.run("webhooks", "replay", sent[0]["id"], *there).stdout
    assert sent[0]["id"] in empty.run("webhooks", "deliveries", *there).stdout
    bad = orjson.loads(
        empty.run(
            "webhooks", "create", f"{receiver}/bad", "--name", "b", "--event", "batch.failed", "--json", *there
        ).stdout
    )
    assert "refused by the receiver, with 500" in empty.run("webhooks", "test", bad["id"], *there, code=1).stdout
    assert (
        "There is no event"
        in empty.run("webhooks", "create", receiver, "--name", "c", "--event", "x", *there, code=1).stderr
    )
    assert f"{endpoint}  deleted" in empty.run("webhooks", "delete", endpoint, *there).stdout
    assert not empty.data_dir.exists()


def completed(place: Place, words: str, **more: str) -> list[str]:
    """What bash is offered for the last of the words."""
    told = ["rightsize", *words.split(" ")]
    asked = {
        "COMP_WORDS": shlex.join(told).replace("''", ""),
        "COMP_CWORD": str(len(told) - 1),
        "_RIGHTSIZE_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [RIGHTSIZE], env={**place.env, **asked, **more}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_batches_and_models_are_completed_from_what_runs(place: Place) -> None:
    batch = place.batch("One")
    assert batch in completed(place, "status batch_")
    assert batch in completed(place, "results ")
    assert completed(place, "pause nothing") == []
    assert set(completed(place, "models check ")) >= {"fast", "thinker"}
    assert "--deadline" in completed(place, "submit --dead")
    assert completed(place, "retry --tier r") == ["rlm"]


def test_completion_starts_nothing_and_is_silent_where_nothing_answers(empty: Place) -> None:
    assert completed(empty, "status batch_") == []
    assert completed(empty, "status batch_", RIGHTSIZE_URL="http://127.0.0.1:9", RIGHTSIZE_API_KEY="rs_x") == []
    assert completed(empty, "status batch_", RIGHTSIZE_URL="nonsense", RIGHTSIZE_API_KEY="rs_x") == []
    assert not empty.data_dir.exists()


def test_completion_is_installed_for_the_shell_of_the_person(empty: Place, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {**empty.env, "HOME": str(home), "SHELL": "/bin/bash"}
    done = subprocess.run(
        ["bash", "-c", f"{RIGHTSIZE} --install-completion; :"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "completion installed" in done.stdout
    script = next(path for path in home.rglob("*") if path.is_file() and "rightsize" in path.name)
    assert "_rightsize_completion" in script.read_text()
    assert os.environ["HOME"] != str(home)


def test_every_new_command_teaches_by_example(empty: Place) -> None:
    for words in (
        "submit", "estimate", "results", "pause", "resume", "retry", "job", "cost", "files list", "files get", "files delete",
        "webhooks create", "webhooks test", "webhooks deliveries",
    ):  # fmt: skip
        told = empty.run(*words.split(), "--help").stdout
        assert any(line.strip().startswith(f"rightsize {words}") for line in told.splitlines()), words
