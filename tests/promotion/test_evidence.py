"""Which rows a certificate may rest on, and what ends one: on answered jobs, a trained specialist and the store, without its audits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text as sql

from orchestrator import ids
from orchestrator.doctor import Finding, examine
from orchestrator.errors import Conflict, InvalidRequest
from orchestrator.promotion import Stage
from orchestrator.rightsizing import commands
from orchestrator.rightsizing.evidence import measuring
from orchestrator.rightsizing.evidence.bodies import body_of
from orchestrator.rightsizing.evidence.kept_aside import KeptAside, kept_aside
from orchestrator.rightsizing.evidence.labelling import draw_to_label, label_file
from orchestrator.rightsizing.evidence.seen import Period
from orchestrator.rightsizing.stages import auditing, certifying, held_rows, promoting
from orchestrator.rightsizing.stages.certifying import Request, Sample
from orchestrator.rightsizing.stages.promoting import Wish
from orchestrator.rightsizing.training.train import train
from orchestrator.store import tasks, versions
from orchestrator.store.rightsizing import audits, certificates, house_jobs, measured, stages
from orchestrator.store.rightsizing.house_jobs import HouseJob
from tests.conftest import Servers
from tests.promotion.stacks import promotion_stack
from tests.promotion.test_loop import TASK, newest_folder, run, scored, texts
from tests.stack import OWNER, Stack

TENANT = OWNER.tenant_id


@pytest.fixture(scope="module")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A task of which 120 jobs were answered by the reference, with a specialist that learned other rows."""
    with promotion_stack(servers, tmp_path_factory.mktemp("evidence"), "evidence") as made:
        learn(made, {"labels_from": "labels"})
        promoting.promote(made.context, TENANT, Wish(TASK, "shadow", "test", audit_share=0.0))
        processes = [made.orchestrator(), made.worker("llm")]
        run(made, texts(120, 21))
        for one in processes:
            made.kill(one)
        yield made


def learn(stack: Stack, told: dict[str, Any], seed: int = 20) -> None:
    rows = texts(300, seed)
    record = train([text for text, _ in rows], [label for _, label in rows], TASK, stack.settings.blobs).as_dict()
    with stack.context.database.unit_of_work() as session:
        versions.put_task(session, TASK, str(record["version"]), {**record, **told})


def change(stack: Stack, statement: str, **values: object) -> None:
    with stack.context.database.unit_of_work() as session:
        session.execute(sql(statement), values)


def give(stack: Stack, file: Path, rows: list[dict[str, str]]) -> None:
    right = dict(texts(120, 21))
    file.write_text("\n".join(["job,label", *(f"{row['job']},{right[row['text']]}" for row in rows)]) + "\n")
    label_file(stack.context, TENANT, TASK, file, "job", "label", given_by="test")


def test_what_people_picked_is_drawn_like_the_rest_and_two_draws_are_never_one_sample(
    stack: Stack, tmp_path: Path
) -> None:
    everything = stack.query("SELECT public_id FROM jobs WHERE NOT unbilled ORDER BY id")
    assert len(everything) == 120
    picked = [
        {"job": ids.public("job", row[0]), "text": text}
        for row, (text, _) in zip(everything, texts(120, 21), strict=True)
    ][:60]
    give(stack, tmp_path / "picked.csv", picked)
    with pytest.raises(InvalidRequest, match="No rows of task triage are left"):
        held_rows.of_jobs(stack.context, TENANT, TASK, newest_folder(stack))
    first = draw_to_label(stack.context, TENANT, TASK, 60)
    labelled = sum(bool(row["label"]) for row in first)
    assert 15 < labelled < 45, "half of all have a label, so about half of those drawn"
    give(stack, tmp_path / "first.csv", first)
    second = draw_to_label(stack.context, TENANT, TASK, 20)
    assert not {row["job"] for row in first} & {row["job"] for row in second}
    give(stack, tmp_path / "second.csv", second)
    drawn = Counter(row[0] for row in stack.query("SELECT to_label FROM audits WHERE to_label IS NOT NULL"))
    assert {round(share, 3): n for share, n in drawn.items()} == {0.5: 60, 0.333: 20}
    rows = held_rows.of_jobs(stack.context, TENANT, TASK, newest_folder(stack))
    assert (len(rows.held), rows.frame["probability"], rows.frame["of_other_draws"]) == (60, 0.5, 20)


def test_labels_of_its_answers_say_how_often_the_reference_is_right(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "LEAST_LABELS", 1_000)
    assert measuring.reference_low(stack.context, TENANT, TASK) is None, "too few of them"
    monkeypatch.setattr(measuring, "LEAST_LABELS", 50)
    found = measuring.reference_low(stack.context, TENANT, TASK)
    assert found is not None
    assert 0.8 < found < 1.0, "it was right each time, of some dozens"


@pytest.mark.parametrize(
    "measure, reference_low, least",
    [("agreement", None, 0.98), ("accuracy", 0.99, 0.97), ("accuracy", None, 0.96), ("accuracy", 0.93, 0.91)],
)
def test_audits_are_held_to_what_the_reference_can_agree_to(
    measure: str, reference_low: float | None, least: float
) -> None:
    found: Any = SimpleNamespace(measure=measure, target=0.98, reference_low=reference_low)
    assert promoting.watched_target(found) == pytest.approx(least)


def test_a_count_goes_back_as_far_as_it_looks_and_says_so(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "AMONG", 10)
    (facts,) = measuring.measure(stack.context, TENANT, Period.of_days(date(2026, 1, 1), None))
    assert 0 < facts.jobs <= 10
    assert facts.since == facts.until == datetime.now(UTC).date(), "and not since January"


def test_nothing_is_asked_about_a_document_that_was_forgotten_meanwhile(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        job = session.execute(
            sql("UPDATE jobs SET forgotten_at = now() WHERE id = (SELECT min(id) FROM jobs) RETURNING id")
        )
        ours = HouseJob(job.scalar_one(), ids.uuid7(), b"{}", "llm", "large", "audit", "A test.", 60.0)
        assert house_jobs.put(session, ours, stack.context.versions) is None
        assert session.execute(sql("SELECT count(*) FROM jobs WHERE unbilled")).scalar_one() == 0
        session.rollback()


def test_a_certificate_is_about_the_version_that_is_stored_whatever_lies_newest_in_the_folder(
    stack: Stack, tmp_path: Path
) -> None:
    rows = texts(300, 50)
    died = train([text for text, _ in rows], [label for _, label in rows], TASK, stack.settings.blobs)
    stored = certifying.newest(stack.context, TENANT, TASK).specialist
    assert stored != died.version, "a training that died before it told the database"
    file = tmp_path / "fresh.csv"
    file.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in texts(200, 51))]) + "\n")
    assert commands.certify(stack.settings, TASK, target=0.999, delta=0.05, labels=file)["specialist"] == stored


def test_labels_that_the_specialist_cannot_give_are_named_and_spend_no_attempt(stack: Stack, tmp_path: Path) -> None:
    (job,) = stack.query("SELECT public_id FROM jobs WHERE state = 10 ORDER BY id LIMIT 1")
    file = tmp_path / "strange.csv"
    file.write_text(f"job,label\n{ids.public('job', job.public_id)},zebra\n{ids.public('job', job.public_id)},\n")
    told = label_file(stack.context, TENANT, TASK, file, "job", "label", given_by="test")
    assert told == {"task": TASK, "labels": 1, "without_a_label": 1, "unknown_labels": ["zebra"]}
    change(stack, "DELETE FROM labels WHERE label = 'zebra'")
    before = attempts(stack)
    file.write_text("text,label\nmy card is lost,zebra\nwhere is my card,giraffe\n")
    with pytest.raises(InvalidRequest, match=r"cannot give any of the labels of strange\.csv"):
        commands.certify(stack.settings, TASK, target=0.9, delta=0.05, labels=file)
    assert attempts(stack) == before


def attempts(stack: Stack) -> int:
    return stack.count("SELECT count(*) FROM certificates")


def test_rows_that_were_used_are_refused_before_they_are_read_again(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "again.csv"
    file.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in texts(120, 52))]) + "\n")
    commands.certify(stack.settings, TASK, target=0.9, delta=0.05, labels=file)
    monkeypatch.setattr(held_rows, "_held", lambda *_: pytest.fail("the specialist was asked"))
    with pytest.raises(InvalidRequest, match=r"None of the .* rows can be used"):
        commands.certify(stack.settings, TASK, target=0.9, delta=0.05, labels=file)


@pytest.mark.parametrize("to", ["shadow", "full"])
def test_a_share_is_of_a_canary_only(stack: Stack, to: Stage) -> None:
    with pytest.raises(InvalidRequest, match="--share is of a canary"):
        promoting.promote(stack.context, TENANT, Wish(TASK, to, "test", share=0.3))


def test_what_is_demoted_is_not_demoted_again(stack: Stack) -> None:
    commands.demote(stack.settings, TASK, reason="A test.")
    with pytest.raises(Conflict, match="is demoted already"):
        commands.demote(stack.settings, TASK, reason="A test.")
    promote(stack, "shadow")


def test_the_doctor_finds_a_specialist_that_was_changed(stack: Stack) -> None:
    def told() -> Finding:
        (found,) = [one for one in examine(stack.settings) if one.name == "specialists"]
        return found

    assert told().holds
    path = newest_folder(stack) / "model.json"
    as_written = path.read_bytes()
    path.write_bytes(as_written.replace(b"card", b"cart"))
    assert not told().holds
    assert "changed since it was written" in told().detail
    path.write_bytes(as_written)
    assert told().holds


def aside(stack: Stack) -> KeptAside:
    with stack.context.database.unit_of_work() as session:
        trained = certificates.trained(session, TENANT, TASK)
        assert trained is not None
        return kept_aside(stack.context, session, TENANT, TASK, trained)


def test_rows_kept_aside_are_left_as_long_as_no_attempt_has_used_them_whoever_learned_them(stack: Stack) -> None:
    kept = aside(stack)
    assert (kept.measure, len(kept.rows)) == ("accuracy", 60)
    certifying.attempt(stack.context, TENANT, Request(TASK, 0.99, 0.05, "accuracy"), held_rows.reserved(kept))
    assert aside(stack).rows == ()
    learn(stack, {"labels_from": "labels"})
    assert aside(stack).rows == (), "the same rows of the same file are used, whatever learned the others"


def test_answers_of_several_revisions_show_no_agreement_and_disputed_ones_count_against_it(stack: Stack) -> None:
    told = {"labels_from": "reference", "reference": "large", "disputed": ["ab" * 32]}
    learn(stack, {**told, "revisions": ["1", "2"]}, seed=22)
    assert (aside(stack).measure, aside(stack).rows) == ("agreement", ())
    learn(stack, {**told, "revisions": ["2"]}, seed=22)
    rows = held_rows.reserved(aside(stack))
    assert (rows.frame["reference"], rows.frame["revision"], rows.frame["disputed"]) == ("large", "2", 1)
    assert len(rows.held) == 61
    assert (rows.held[-1].score, rows.held[-1].right) == (1.0, False)


def compare(stack: Stack, reference: str) -> None:
    """Promote to the shadow of a reference, and write down what it is said to have answered to ten jobs."""
    stage = promoting.promote(stack.context, TENANT, Wish(TASK, "shadow", "test", reference=reference))
    change(
        stack,
        "INSERT INTO audits (tenant_id, task, stage_id, kind, probability, job, state, text_hash, score, agrees) "
        "SELECT tenant_id, task, :stage, 'shadow', 0.2, public_id, 'decided', sha256(id::text::bytea), 0.9, true FROM jobs "
        "WHERE NOT unbilled AND public_id NOT IN (SELECT job FROM audits) ORDER BY id LIMIT 10",
        stage=stage,
    )


def references(stack: Stack) -> Counter[str]:
    since = datetime.now(UTC) - timedelta(days=1)
    with stack.context.database.unit_of_work() as session:
        version = certificates.newest_specialist(session, TENANT, TASK)
        found = audits.pairs(session, TENANT, TASK, str(version), since)
        assert audits.unused_pairs(session, TENANT, TASK, str(version), since) == len(found)
    return Counter(row.reference for row in found)


def test_pairs_of_another_reference_are_not_counted_with_those_of_the_newest(stack: Stack) -> None:
    compare(stack, "large")
    assert references(stack) == {"large": 10}
    compare(stack, "judge")
    assert references(stack) == {"judge": 10}


def promote(stack: Stack, to: Stage) -> None:
    promoting.promote(stack.context, TENANT, Wish(TASK, to, "test"))


def in_force(stack: Stack) -> str:
    with stack.context.database.unit_of_work() as session:
        return stages.in_force(session, TENANT)[TASK].stage


def certify(stack: Stack, seed: int) -> None:
    unlabelled = [one.score for one in scored(stack, 300, seed)]
    asked = Request(TASK, 0.8, 0.05, "accuracy", reference_low=0.99)
    found = certifying.attempt(stack.context, TENANT, asked, Sample(scored(stack, 400, seed + 1), unlabelled, {}))
    assert found["issued"], found["reason"]


def test_the_watch_goes_on_from_the_canary_with_what_is_still_out(stack: Stack) -> None:
    certify(stack, 30)
    promote(stack, "shadow")
    promote(stack, "canary")
    canary = stack.query("SELECT max(id) FROM stages")[0][0]
    change(
        stack,
        "INSERT INTO audits (tenant_id, task, stage_id, kind, probability, job, state, audit_job_id, agrees) "
        "SELECT :tenant, :task, :stage, 'audit', 0.2, gen_random_uuid(), CASE WHEN n < 6 THEN 'decided' ELSE 'asked' END, 900000 + n, true "
        "FROM generate_series(1, 10) n",
        tenant=TENANT, task=TASK, stage=canary,
    )  # fmt: skip
    assert auditing.watch_all(stack.context) == 5
    promote(stack, "full")
    change(stack, "UPDATE audits SET state = 'decided' WHERE stage_id = :stage", stage=canary)
    assert auditing.watch_all(stack.context) == 5
    assert stack.query("SELECT watch->>'seen' FROM stages ORDER BY id DESC LIMIT 1")[0][0] == "10"


def test_a_certificate_past_its_end_lets_nobody_answer_alone_even_before_that_is_noted(stack: Stack) -> None:
    assert in_force(stack) == "full"
    change(stack, "UPDATE certificates SET expires_at = now() - interval '1 second' WHERE issued")
    assert in_force(stack) == "demoted"
    auditing.watch_all(stack.context)
    assert "has expired" in stack.query("SELECT reason FROM stages ORDER BY id DESC LIMIT 1")[0][0]


def define(stack: Stack, instructions: str, target: float) -> None:
    definition = {"instructions": instructions, "quality_target": target, "output_schema": None}
    with stack.context.database.unit_of_work() as session:
        tasks.put(session, TENANT, TASK, f"{instructions} {target}", definition)


def test_a_task_that_asks_something_else_takes_its_specialist_back(stack: Stack) -> None:
    define(stack, "Name the subject.", 0.9)
    learn(stack, {"labels_from": "labels"}, seed=40)
    certify(stack, 42)
    promote(stack, "full")
    define(stack, "Name the subject.", 0.95)
    auditing.watch_all(stack.context)
    assert in_force(stack) == "full", "another target asks nothing else"
    define(stack, "Name the subject, or say refund.", 0.95)
    auditing.watch_all(stack.context)
    assert in_force(stack) == "demoted"
    with pytest.raises(InvalidRequest, match="asks something else now"):
        promote(stack, "full")


def test_a_body_that_is_lost_is_told_as_none(stack: Stack) -> None:
    assert body_of(stack.context, None, "inputs/lost") is None
    assert body_of(stack.context, None, None) is None
    assert body_of(stack.context, b"here", None) == b"here"
