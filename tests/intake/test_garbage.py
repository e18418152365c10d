"""Whatever lies in the queue: nothing of it is executed, the intake lives on, and good work goes through (F14, A18)."""

from __future__ import annotations

import base64
import os
import pickle
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator import errors
from tests.intake.conftest import HOUSE, Producer
from tests.intake.test_messages import message
from tests.stack import Stack, chat, until


class Deed:
    """What would touch a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def junk(tmp_path: Path) -> list[bytes]:
    """Messages that are none, or that want what is not theirs."""
    deed = pickle.dumps(Deed(tmp_path / "done"))
    python = "application/x-python-serialize"
    return [
        b"not json", b"", b"\x80\x04\x95", b"null", b"[1,2]", b"{}", b'{"body": null}', b"5", b'"x"', b'{"headers": []}', deed,
        message()[:-30],
        message(deed, outer={"content-type": python, "content-encoding": "binary"}),
        message(deed, {"compression": "application/x-gzip"}, {"content-type": python}),
        orjson.dumps(base64.b64encode(deed).decode()),
        message(outer={"content-type": "application/x-yaml"}), message(outer={"content-type": "application/data"}),
        message([[], {"key": 1, "body": 2}, {}]), message([[], {}]), message({"x": 1}), message([["os.system"], {}, {}]),
        message(headers={"task": "os.system"}), message(headers={"task": "celery.chord"}),
        message(headers={"task": "rightsize.execute.v1"}), message(headers={"task": "rightsize.submit.v2", "id": "v2"}),
        message(headers={"eta": "soon"}), message(headers={"id": {"a": 1}}),
        message(b"[" * 100_000),
        b"x" * 60_000_000,
    ]  # fmt: skip


def test_f14_a18_garbage_is_never_executed_and_the_intake_lives_on(
    stack: Stack, producer: Producer, tmp_path: Path
) -> None:
    assert Deed(tmp_path).__reduce__()[0] is os.mkdir
    intake = stack.intake()
    sent = junk(tmp_path)
    for number, raw in enumerate(sent):
        stack.broker.redis.lpush("rightsize.submit" if number % 2 else "rightsize.submit\x06\x163", raw)
    assert producer.answer(producer.submit(chat("Good")))["state"] == "queued"
    until(lambda: stack.count("SELECT count(*) FROM refusals") == len(sent), what="each is refused once")
    assert intake.poll() is None
    assert not (tmp_path / "done").exists()
    assert stack.count("SELECT count(*) FROM jobs") == 1
    assert stack.count("SELECT count(*) FROM refusals WHERE tenant_id IS NOT NULL OR code = 'internal_error'") == 0
    assert stack.count("SELECT count(*) FROM refusals WHERE code = 'request_too_large'") == 1
    log = stack.logs[intake.pid].read_text()
    assert "error" not in log
    until(lambda: not stack.broker.redis.keys("rightsize.submit.taken.*"), what="nothing is left in hand")
    stack.must_hold()


def test_an_unknown_task_is_told_which_there_are(stack: Stack, producer: Producer) -> None:
    stack.intake()
    sent = producer.app.send_task("rightsize.sumbit", kwargs={}, queue="rightsize.submit")
    with pytest.raises(errors.InvalidRequest, match=r"no task 'rightsize\.sumbit' here\. Send rightsize\.submit or"):
        producer.answer(sent)


def test_a18_a_forged_question_for_another_tenants_job_finds_nothing(stack: Stack, producer: Producer) -> None:
    stack.intake()
    made = producer.answer(producer.submit(chat("Secret")))
    other = producer.of_another_tenant()
    with pytest.raises(errors.NotFound) as theirs:
        producer.ask(made["id"], key=other)
    never = "job_" + "0" * 32
    with pytest.raises(errors.NotFound) as nobodys:
        producer.ask(never, key=other)
    assert str(theirs.value).replace(made["id"], never) == str(nobodys.value)


def test_a_fault_of_ours_is_listed_with_its_log_line_and_told_without_its_text(
    stack: Stack, producer: Producer
) -> None:
    code = (
        "from orchestrator.intake import main, work\nfrom orchestrator.settings import Settings\n"
        "def broken(*_, **__): raise ValueError('the prompt')\nwork.submit_job = broken\nmain(Settings.load())"
    )
    intake = stack.start(code, "intake")
    with pytest.raises(errors.Broken, match=r"internal_error: .*Report fault_\w+"):
        producer.answer(producer.submit(task_id="bad"))
    (found,) = stack.query("SELECT * FROM refusals")
    assert (found.code, found.task_id) == ("internal_error", "bad")
    log = stack.logs[intake.pid].read_text()
    assert found.message.partition("Report ")[2].rstrip(".") in log
    assert "the prompt" not in log.replace("raise ValueError('the prompt')", "")
    assert HOUSE.tenant_id == found.tenant_id
