"""A document is forgotten: rows, blobs, what people said and the lines of files; what it cost stays, and so do its neighbours."""

from __future__ import annotations

import hashlib
import io
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.errors import BlobsAway, Conflict
from orchestrator.flow import forget, reviewing, tasks, upkeep
from orchestrator.flow.administer import Actor
from orchestrator.flow.again import Again, retry_batch
from orchestrator.flow.context import Context, open_context
from orchestrator.flow.show import show_job
from orchestrator.promotion import Drawn
from orchestrator.rightsizing.evidence import labelling
from orchestrator.settings import Settings
from orchestrator.store.rightsizing import audits, house_jobs, labels
from orchestrator.store.rightsizing.house_jobs import HouseJob
from orchestrator.store.rightsizing.labels import NewLabel
from tests.flow.test_documents import LABELS, document, known, lines_of, long_document
from tests.flow.test_review import BILL, HINTS, RIGHT, TASK, decide
from tests.stack import OWNER, Stack, chat, row, until

ACTOR = Actor(OWNER.tenant_id, "key_test")
SECRET = "Zanzibar-4711"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@contextmanager
def app_of(settings: Settings) -> Iterator[Context]:
    """What the API works with: a role that is bound to one tenant."""
    with closing(open_context(settings, "app")) as context:
        yield context


def digest_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def forgotten(settings: Settings, content: str, owner: Owner = OWNER) -> dict[str, Any]:
    """Forget a document as the API does."""
    with app_of(settings) as context:
        return forget.forget_document(context, Actor(owner.tenant_id, "key_test"), owner, digest_of(content))


def holds(stack: Stack, words: str) -> bool:
    """Whether words are stored anywhere: in a row of any table, as text or as bytes, or in a blob."""
    tables = stack.query(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace"
    )
    rows = [one.told for (name,) in tables for one in stack.query(f"SELECT CAST(t AS text) AS told FROM {name} t")]
    blobs = [path.read_bytes() for path in stack.settings.blobs.rglob("*") if path.is_file()]
    return any(words in one or words.encode().hex() in one for one in rows) or any(
        words.encode() in one for one in blobs
    )


def file_of(stack: Stack, batch: int, column: str) -> list[dict[str, Any]]:
    """The lines of one of a batch's files."""
    (key,) = stack.query(
        f"SELECT f.blob_key FROM files f JOIN batches b ON f.id = b.{column} WHERE b.id = :id", id=batch
    )[0]
    return [orjson.loads(line) for line in stack.context.blobs.get(key).splitlines()]


@pytest.fixture
def working(stack: Stack) -> Stack:
    stack.orchestrator()
    stack.worker("llm", "rlm")
    return stack


def test_nothing_of_a_document_is_left_and_its_neighbours_are_whole(working: Stack, settings: Settings) -> None:
    content, other = f"Order {SECRET}, and more of it.", "Refund please"
    lines_of(working, document("a.txt", content), document("b.txt", other), hints=LABELS)
    lines_of(working, known("renamed.txt", content), hints=LABELS)
    charged = working.query("SELECT sum(amount_usd) AS usd, count(*) AS many FROM transfers")[0]
    assert holds(working, SECRET)
    before = file_of(working, 1, "output_file_id")
    told = forgotten(settings, content)
    assert not holds(working, SECRET)
    taken = told["taken"]
    assert (taken["jobs"], taken["cancelled"], taken["requests"], taken["results"]) == (2, 0, 2, 2)
    assert taken["lines"] == 4  # two inputs, two outputs
    assert len(told["files"]) == 4
    output = {line["custom_id"]: line for line in file_of(working, 1, "output_file_id")}
    assert output["b.txt"] in before
    gone = output["a.txt"]
    assert (gone["response"], gone["error"]["code"]) == (None, "forgotten")
    assert Decimal(gone["rightsize"]["cost_usd"]) > 0
    assert "document" not in gone["rightsize"]
    assert [line["custom_id"] for line in file_of(working, 1, "input_file_id")] == ["a.txt", "b.txt"]
    assert (working.query("SELECT sum(amount_usd) AS usd, count(*) AS many FROM transfers")[0]) == charged
    assert working.count("SELECT count(*) FROM jobs") == 3
    assert working.doctor() == []
    for (public_id,) in working.query("SELECT public_id FROM jobs WHERE forgotten_at IS NOT NULL"):
        job = show_job(working.context, OWNER, ids.public("job", public_id))
        assert (job["rightsize"]["forgotten"], job["result"], job["error"]["code"]) == (True, None, "forgotten")
    acts = working.query(
        "SELECT action, actor, target, detail FROM audit_log WHERE action LIKE 'document.%' ORDER BY id"
    )
    assert [act.action for act in acts] == ["document.forgetting", "document.forgotten"]
    assert acts[1].target == f"sha256:{digest_of(content)}"
    assert acts[1].detail["results"] == 2


def test_a_forgotten_document_is_asked_anew_and_others_are_still_reused(working: Stack, settings: Settings) -> None:
    content, other = f"Order {SECRET}", "Refund please"
    lines_of(working, document("a.txt", content), document("b.txt", other), hints=LABELS)
    forgotten(settings, content)
    again = lines_of(working, document("a.txt", content), known("b.txt", other), hints=LABELS)
    assert [again[name]["rightsize"]["reused"] for name in ("a.txt", "b.txt")] == [False, True]
    assert forgotten(settings, content)["taken"]["jobs"] == 1


def test_pieces_details_of_attempts_and_blobs_go_as_well(settings: Settings) -> None:
    small = settings.model_copy(update={"inline_body_bytes": 200})
    with Stack(small) as stack:
        stack.broker.redis.flushdb()
        stack.orchestrator()
        stack.worker("llm")
        tasks.define(stack.context, OWNER, {
            "name": "long", "instructions": "Do it.", "splitting": {"reduce": "concat", "max_tokens": 1_000}, "escalate": False,
        })  # fmt: skip
        tasks.define(
            stack.context,
            OWNER,
            {**TASK, "escalate": False, "checks": [{"field": "/total", "rule": "range", "least": "-2", "most": "-1"}]},
        )
        whole = long_document("a.pdf")
        whole["blocks"][0][1] = f"{SECRET} " + whole["blocks"][0][1]
        content = "\n\n".join(one[1] for one in whole["blocks"])
        whole["hash"] = digest_of(content)
        lines_of(stack, whole, hints={"task": "long"})
        lines_of(stack, document("b.txt", content), hints=HINTS)
        assert stack.count("SELECT count(*) FROM attempts WHERE detail IS NOT NULL") > 0
        blobs = stack.count("SELECT count(*) FROM job_requests WHERE blob_key IS NOT NULL")
        told = forgotten(small, content)
        assert told["taken"]["blobs"] >= blobs > 3
        assert told["taken"]["jobs"] == stack.count("SELECT count(*) FROM jobs")
        assert not holds(stack, SECRET)
        assert stack.count("SELECT count(*) FROM attempts WHERE detail IS NOT NULL") == 0
        assert stack.query("SELECT DISTINCT fault_message FROM attempts WHERE fault_message IS NOT NULL") == [
            ("The document was forgotten.",)
        ]
        assert stack.count("SELECT count(*) FROM files WHERE purpose = 'forgotten' AND blob_key <> ''") == 0
        assert not list(small.blobs.glob("bodies/*/*"))
        assert stack.doctor() == []


def test_reviews_and_corrections_go_as_well(working: Stack, settings: Settings) -> None:
    tasks.define(working.context, OWNER, TASK)
    lines_of(working, document("a.txt", BILL), hints=HINTS)
    (found,) = reviewing.listed(working.context, OWNER, "bills", state="open", after=None, limit=9)["data"]
    decide(working, found["id"], "correct", {**RIGHT, "issuer": SECRET})
    taken = forgotten(settings, BILL)["taken"]
    assert (taken["versions"], taken["reviews"]) == (1, 1)
    assert not holds(working, SECRET)
    assert not holds(working, "Anvil Works")


def test_labels_and_second_answers_go_as_well(working: Stack, settings: Settings) -> None:
    tasks.define(working.context, OWNER, TASK)
    lines_of(working, document("a.txt", BILL), hints=HINTS)
    (about,) = working.query("SELECT id, public_id FROM jobs")
    body = orjson.dumps(chat(f"Again: {SECRET}"))
    new = HouseJob(about.id, ids.uuid7(), body, "llm", "fast", "audit", "Again.", 60.0)
    with working.context.database.unit_of_work() as session:
        house_jobs.put(session, new, working.context.versions)
        labels.put(session, 1, [NewLabel(about.public_id, b"x" * 32, SECRET)], source="label", given_by="test")
        audits.draw(session, 1, [(about.public_id.hex, Drawn(1, "bills", "audit", 0.5))])
    working.context.broker.wake()
    working.wait_job(new.public_id)
    assert holds(working, SECRET)
    assert forgotten(settings, BILL)["taken"]["jobs"] == 2
    assert not holds(working, SECRET)
    assert working.count("SELECT (SELECT count(*) FROM labels) + (SELECT count(*) FROM audits)") == 0
    assert working.doctor() == []


def test_what_comes_of_it_while_it_is_forgotten_goes_as_well(working: Stack, settings: Settings) -> None:
    tasks.define(working.context, OWNER, TASK)
    lines_of(working, document("a.txt", BILL), hints=HINTS)
    (about,) = working.query("SELECT id, public_id FROM jobs")
    new = HouseJob(
        about.id, ids.uuid7(), orjson.dumps(chat(f"Again: {SECRET}")), "llm", "fast", "audit", "Again.", 60.0
    )
    label = NewLabel(about.public_id, b"x" * 32, SECRET)
    with ThreadPoolExecutor(1) as pool:
        with working.context.database.unit_of_work() as session:
            assert house_jobs.put(session, new, working.context.versions) is not None
            assert labels.put(session, 1, [label], source="label", given_by="test") == 1
            forgetting = pool.submit(forgotten, settings, BILL)
            until(lambda: working.count(WAITING) == 1, what="it waits for what was begun before")
        taken = forgetting.result(30)["taken"]
    assert taken["jobs"] == 2, "the second one is cancelled, or was answered before it could be"
    assert not holds(working, SECRET)
    with working.context.database.unit_of_work() as session:
        assert house_jobs.put(session, replace(new, public_id=ids.uuid7()), working.context.versions) is None
        assert labels.put(session, 1, [label], source="label", given_by="test") == 0
    with pytest.raises(Conflict, match="was forgotten"):
        labelling.give_feedback(
            working.context, OWNER.tenant_id, about.public_id, label=None, good=True, given_by="test"
        )
    assert working.doctor() == []


def test_what_still_waits_is_cancelled_and_its_hold_given_back(stack: Stack, settings: Settings) -> None:
    stack.orchestrator()  # and no worker
    batch = stack.submit(
        [
            row("a.txt", {"document": document("a.txt", f"Order {SECRET}")}),
            row("b.txt", {"document": document("b.txt", "Other")}),
        ],
        hints=LABELS,
    )
    until(lambda: stack.batch(batch).status == "in_progress", what="it is open")
    told = forgotten(settings, f"Order {SECRET}")
    assert (told["taken"]["cancelled"], told["taken"]["jobs"]) == (1, 1)
    assert not holds(stack, SECRET)
    assert stack.doctor() == []
    stack.worker("llm")
    ended = stack.wait(batch)
    assert (ended.final["completed"], ended.final["failed"]) == (1, 1)
    lines = {line["custom_id"]: line for line in stack.lines(batch)}
    assert lines["a.txt"]["error"]["code"] == "forgotten"
    stack.must_hold(batch, 2)


def test_a_batch_that_ends_later_writes_nothing_of_it(stack: Stack, settings: Settings) -> None:
    stack.orchestrator()
    stack.worker("llm")
    batch = stack.submit(
        [row("a.txt", {"document": document("a.txt", f"Order {SECRET}")}), row("b.txt", {"document": document("b.txt", "[[sleep:4]] other")})],
        hints=LABELS,
    )  # fmt: skip
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 10"), what="the first has its answer")
    forgotten(settings, f"Order {SECRET}")
    stack.wait(batch)
    assert not holds(stack, SECRET)
    lines = {line["custom_id"]: line for line in stack.lines(batch)}
    assert (lines["a.txt"]["response"], lines["a.txt"]["error"]["code"]) == (None, "forgotten")
    assert lines["b.txt"]["response"] is not None
    stack.must_hold(batch, 2)


def test_rows_that_were_refused_and_merged_outputs_lose_it_as_well(working: Stack, settings: Settings) -> None:
    tasks.define(
        working.context,
        OWNER,
        {"name": "short", "instructions": "Do it.", "limits": {"max_pages": 2}, "escalate": False},
    )
    hints = {"task": "short", "on_invalid_row": "report"}
    content = f"Order {SECRET}"
    failing = document("c.txt", "[[fail:refused]] no")
    batch = working.submit(
        [row("a.txt", {"document": document("a.txt", content)}), row("c.txt", {"document": failing})], hints=hints
    )
    working.wait(batch)
    pages = [{"number": number, "source": "text"} for number in range(1, 6)]
    refused = document("long.pdf", f"Another {SECRET}", pages=pages)
    alone = working.submit([row("long.pdf", {"document": refused})], hints=hints)
    assert working.wait(alone).final["failed"] == 1
    made = retry_batch(working.context, OWNER, working.batch(batch).public_id, Again(tier="llm"), None)
    working.wait(made.id)
    assert digest_of(content) in str(file_of(working, made.id, "merged_file_id"))
    forgotten(settings, content)
    assert forgotten(settings, f"Another {SECRET}")["taken"]["lines"] == 1
    assert not holds(working, SECRET)
    assert digest_of(content) not in str(file_of(working, made.id, "merged_file_id"))
    retry_batch(
        working.context, OWNER, working.batch(batch).public_id, Again(tier="llm"), None
    )  # its input can still be read


def test_another_tenants_copy_of_the_same_document_is_left_alone(working: Stack, settings: Settings) -> None:
    lines_of(working, document("a.txt", f"Order {SECRET}"), hints=LABELS)
    with working.context.database.unit_of_work() as session:
        tenant = session.execute(
            text("INSERT INTO tenants (public_id, name) VALUES (gen_random_uuid(), 'other') RETURNING id")
        ).scalar_one()
        project = session.execute(
            text(
                "INSERT INTO projects (public_id, tenant_id, name) VALUES (gen_random_uuid(), :t, 'default') RETURNING id"
            ),
            {"t": tenant},
        ).scalar_one()
    told = forgotten(settings, f"Order {SECRET}", Owner(tenant, project, OWNER.api_key_id))
    assert not any(told["taken"].values())
    assert holds(working, SECRET)
    assert working.count("SELECT count(*) FROM jobs WHERE forgotten_at IS NOT NULL") == 0


def test_while_a_batch_with_it_is_read_or_another_forgets_the_caller_is_told_to_come_again(
    stack: Stack, settings: Settings
) -> None:
    content = f"Order {SECRET}"
    orchestrator = stack.orchestrator()
    stack.worker("llm")
    lines_of(stack, document("a.txt", content), hints=LABELS)
    stack.kill(orchestrator)  # it would read the batch on, and open it
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE batches SET status = 'validating'"))
    with pytest.raises(Conflict, match=r"batch_[0-9a-f]{32} holds the document and is validating. Run it again"):
        forgotten(settings, content)
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE batches SET status = 'completed'"))
    with stack.context.database.locked(f"forget:{OWNER.tenant_id}") as held:
        assert held
        with pytest.raises(Conflict, match="being forgotten just now"):
            forgotten(settings, content)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: _attempt(settings, content), range(4)))
    assert sum(one["taken"]["jobs"] for one in told if one) == 1
    assert not holds(stack, SECRET)


def _attempt(settings: Settings, content: str) -> dict[str, Any] | None:
    try:
        return forgotten(settings, content)
    except Conflict:
        return None


@pytest.mark.parametrize("point", ["forget.after_rows", "forget.after_file"])
def test_who_is_killed_in_between_is_run_again_and_leaves_nothing(stack: Stack, settings: Settings, point: str) -> None:
    small = settings.model_copy(update={"inline_body_bytes": 200})
    content = f"Order {SECRET}"
    with Stack(small) as working:
        working.broker.redis.flushdb()
        working.orchestrator()
        working.worker("llm")
        lines_of(working, document("a.txt", content), document("b.txt", "Other"), hints=LABELS)
        code = (
            "from orchestrator.contracts import Owner; from orchestrator.flow import forget; from orchestrator.flow.administer import Actor; "
            "from orchestrator.flow.context import open_context; from orchestrator.settings import Settings; "
            f"forget.forget_document(open_context(Settings.load(), 'app'), Actor(1, 'key_test'), Owner(1, 1, 1), {digest_of(content)!r})"
        )
        assert working.start(code, "forget", crash_at=f"{point}:kill").wait(60) == -signal.SIGKILL
        assert holds(working, SECRET)
        told = forgotten(small, content)
        upkeep.erase_files(working.context, lambda: False)
        assert not holds(working, SECRET)
        assert told["taken"]["lines"] >= 1
        assert working.count("SELECT count(*) FROM files WHERE purpose = 'forgotten' AND blob_key <> ''") == 0
        assert working.doctor() == []


def test_a_blob_store_that_is_away_leaves_the_bytes_to_upkeep(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = settings.model_copy(update={"inline_body_bytes": 200})
    content = f"Order {SECRET}"
    with Stack(small) as working:
        working.broker.redis.flushdb()
        working.orchestrator()
        working.worker("llm")
        lines_of(working, document("a.txt", content), hints=LABELS)
        kind = type(working.context.blobs)

        def away(*_: object) -> None:
            raise BlobsAway("The store is away.")

        with monkeypatch.context() as then:
            then.setattr(kind, "delete", away)
            with app_of(small) as context:
                forget.forget_document(context, ACTOR, OWNER, digest_of(content))
        assert working.count("SELECT count(*) FROM files WHERE purpose = 'forgotten' AND blob_key <> ''") > 0
        upkeep.erase_files(working.context, lambda: False)
        assert not holds(working, SECRET)


def test_lines_are_copied_whole_unless_they_are_about_the_document() -> None:
    digest, other = "a" * 64, "b" * 64
    about = orjson.dumps({"custom_id": "x", "body": {"document": {"hash": digest, "blocks": [SECRET]}}})
    beside = orjson.dumps({"custom_id": "y", "body": {"document": {"hash": other, "blocks": [f"mentions {digest}"]}}})
    broken = b'{"custom_id": "z", "body": {"document": {"hash": "' + digest.encode() + b'", ' + SECRET.encode()
    long = b'{"hash": "' + digest.encode() + b'", ' + SECRET.encode() * 200 + b"}"
    plain = b"x" * 1_500
    target = io.BytesIO()
    source = io.BytesIO(b"\n".join([b"\xef\xbb\xbf" + about, beside, b"", broken, long, plain, beside]))
    assert forget.without(source, target, digest, 1_000) == 3
    lines = target.getvalue().split(b"\n")
    assert lines == [b'{"custom_id":"x","forgotten":true}', beside, b"", b"{}", b"{}", plain, beside]
