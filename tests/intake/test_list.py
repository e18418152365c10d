"""The list of dead letters, as people see it: over HTTP and on the command line, each tenant its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import commands
from orchestrator.store import refusals
from orchestrator.store.refusals import NewRefusal
from tests.intake.conftest import Producer
from tests.serving import Api, serve
from tests.stack import ROOT, Stack, chat, until


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    """The API over the stack, with a key of every scope."""
    with serve(stack) as made:
        yield made


def test_refused_work_is_listed_to_its_tenant_and_what_nobody_owns_to_the_house(
    stack: Stack, producer: Producer, api: Api
) -> None:
    stack.intake()
    theirs = producer.of_another_tenant()
    producer.submit(chat("Mine", model="gpt-99"), task_id="mine")
    producer.submit(chat("Theirs", model="gpt-99"), task_id="theirs", more={"key": theirs})
    producer.submit(chat("Nobody's"), task_id="nobodys", more={"key": "rs_" + "x" * 43})
    until(lambda: stack.count("SELECT count(*) FROM refusals") == 3)
    with api.client as client:
        (mine,), (nobodys,) = client.refusals(), client.refusals(unknown=True)
        requests = [client.refusal(mine["id"])["request"], client.refusal(nobodys["id"], unknown=True)["request"]]
    assert (mine["task_id"], mine["code"], mine["object"]) == ("mine", "model_not_found", "refusal")
    assert "Known:" in mine["message"]
    assert requests == [{"body": chat("Mine", model="gpt-99")}, {"body": chat("Nobody's")}]
    assert (nobodys["task_id"], nobodys["code"]) == ("nobodys", "invalid_api_key")
    other = {"Authorization": f"Bearer {theirs}"}
    (listed,) = api.http.get("/v1/refusals", headers=other).json()["data"]
    assert listed["task_id"] == "theirs"
    assert api.http.get(f"/v1/refusals/{mine['id']}", headers=other).status_code == 404
    assert api.http.get(f"/v1/refusals/{nobodys['id']}", headers=other).status_code == 404


def test_what_nobody_owns_is_for_admins_of_the_house_only(stack: Stack, producer: Producer, api: Api) -> None:
    reader = commands.create_key(stack.settings, "reader", scopes=("read",))["key"]
    writer = commands.create_key(stack.settings, "writer", scopes=("submit",))["key"]
    theirs = producer.of_another_tenant()
    admin = commands.create_key(stack.settings, "boss", tenant="acme", scopes=("read", "admin"))["key"]
    for key, path, status in (
        (reader, "/v1/refusals", 200),
        (writer, "/v1/refusals", 403),
        (reader, "/v1/refusals?unknown=true", 403),
        (theirs, "/v1/refusals?unknown=true", 403),
        (admin, "/v1/refusals?unknown=true", 403),
        (admin, "/v1/refusals/1?unknown=true", 403),
        (api.key, "/v1/refusals?unknown=true", 200),
        (api.key, "/v1/refusals/1?unknown=true", 404),
        (api.key, "/v1/refusals/x", 400),
        (api.key, f"/v1/refusals/{2**63}", 400),
        (api.key, "/v1/refusals?limit=0", 400),
        (api.key, "/v1/refusals?before=-1", 400),
    ):
        assert api.http.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == status, (path, status)


def test_the_list_is_paged_from_the_newest(stack: Stack, api: Api) -> None:
    with stack.context.house.unit_of_work() as session:
        made = [refusals.add(session, NewRefusal(1, f"t{n}", "code", "why", b'{"cut off')) for n in range(5)]
    first = api.http.get("/v1/refusals?limit=3").json()
    then = api.http.get(f"/v1/refusals?limit=3&before={first['data'][-1]['id']}").json()
    assert [one["id"] for one in first["data"] + then["data"]] == made[::-1]
    assert (first["has_more"], then["has_more"]) == (True, False)
    assert api.http.get(f"/v1/refusals/{made[0]}").json()["request"] == '{"cut off'


def test_a_job_is_read_over_http_by_its_tasks_id_and_a_refusal_says_why(
    stack: Stack, producer: Producer, api: Api
) -> None:
    stack.intake()
    made = producer.answer(producer.submit(task_id="order:1041"))
    with api.client as client:
        assert client.job("celery:order:1041")["id"] == made["id"]
    producer.submit(chat("x", model="gpt-99"), task_id="wrong")
    until(lambda: stack.count("SELECT count(*) FROM refusals") == 1)
    for name, says in (
        ("wrong", "was refused: model_not_found"),
        ("never", "No job was made of a Celery task 'never'"),
    ):
        answer = api.http.get(f"/v1/jobs/celery:{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert says in answer.json()["error"]["message"]


def test_a_job_whose_message_is_still_on_its_way_can_be_waited_for_over_http(
    stack: Stack, producer: Producer, api: Api
) -> None:
    stack.orchestrator()
    stack.worker()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(api.http.get, "/v1/jobs/celery:late?wait_s=20")
        time.sleep(0.5)
        assert not asked.done()
        producer.submit(task_id="late")
        stack.intake()
        assert (asked.result(25).status_code, asked.result().json()["state"]) == (200, "succeeded")


def test_the_command_shows_the_list_and_one_of_it(stack: Stack, producer: Producer, api: Api) -> None:
    assert "Nothing was refused." in run(api)[1]
    stack.intake()
    producer.submit(chat("Hello", model="gpt-99"), task_id="wrong")
    until(lambda: stack.count("SELECT count(*) FROM refusals") == 1)
    shown, _ = run(api)
    assert "model_not_found" in shown
    assert "wrong" in shown
    (listed,) = json.loads(run(api, "--json")[0])
    one = json.loads(run(api, str(listed["id"]), "--json")[0])
    assert one["request"]["body"]["model"] == "gpt-99"
    assert '"gpt-99"' in run(api, str(listed["id"]))[0]
    assert json.loads(run(api, "--unknown", "--json")[0]) == []


def run(api: Api, *words: str) -> tuple[str, str]:
    """What the command prints, to standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "refusals", "--url", api.url, "--api-key", api.key, *words], cwd=ROOT,
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
