"""The loop on the running service: a certificate lets a specialist answer alone, audits watch it, and what drifts is taken back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql

from orchestrator.errors import InvalidRequest
from orchestrator.flow import upkeep
from orchestrator.learned import specialist
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.evidence import judging, measuring, past
from orchestrator.rightsizing.evidence.labelling import draw_to_label, label_file
from orchestrator.rightsizing.evidence.seen import Period
from orchestrator.rightsizing.stages import certifying, drifting, held_rows, promoting, standing
from orchestrator.rightsizing.stages.certifying import Held, Request, Sample
from orchestrator.rightsizing.stages.promoting import Wish
from orchestrator.rightsizing.training.train import train
from orchestrator.settings import Settings
from orchestrator.store import versions
from orchestrator.store.rightsizing import stages
from tests.conftest import PACE, Servers
from tests.promotion.judge_server import serve_judge
from tests.serving import serve
from tests.stack import OWNER, Stack, chat, row, until

FLEET = """
[policy]
default_tier = "llm"
max_attempts = 3
retry_base_s = 0.1
[models.specialist]
tier = "slm"
engine = "specialist"
slots = 32
expected_latency_s = 0.01
[[models.specialist.rates]]
request = "0.001"
[models.large]
tier = "llm"
engine = "simulated"
slots = 32
expected_latency_s = 0.01
[models.large.simulate]
latency_s = [0.0, 0.0]
accuracy = 1.0
[[models.large.rates]]
request = "0.05"
[models.judge]
tier = "rlm"
engine = "openai"
address = "{judge}"
slots = 8
expected_latency_s = 0.05
[[models.judge.rates]]
request = "0.5"
"""
TASK = "triage"
SUBJECTS = {
    "card": "card delivery arrived post chip", "refund": "refund money back charge twice", "login": "password login reset locked code",
}  # fmt: skip
OTHERS = {"card": "refund", "refund": "login", "login": "card"}
NOISE = ["please", "my", "the", "help", "is", "was", "not", "yet", "today", "again", "still"]


def texts(n: int, seed: int) -> list[tuple[str, str]]:
    """Made-up tickets, each with its label; a few are about nothing and could be anything."""
    draw = random.Random(seed)
    made = []
    for at in range(n):
        label = draw.choice(list(SUBJECTS))
        words = [*draw.sample(SUBJECTS[label].split(), 2 if draw.random() < 0.97 else 0), *draw.choices(NOISE, k=4)]
        draw.shuffle(words)
        made.append((f"{' '.join(words)} {seed}-{at}", label))
    return made


def ask(text: str, expected: str) -> dict[str, Any]:
    metadata = {"expected": expected, "labels": ",".join(SUBJECTS)}
    return chat(text, metadata=metadata, rightsize={"task": TASK, "instructions": "Name the subject."})


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with serve_judge(SUBJECTS) as url:
        yield url


@pytest.fixture(scope="module")
def stack(servers: Servers, judge: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("loop")
    given = {**PACE, "database_url": servers.create_migrated("loop"), "redis_url": servers.redis_url, "data_dir": place}
    fleet: Path = place / "fleet.toml"
    fleet.write_text(FLEET.replace("{judge}", judge))
    with Stack(Settings.load({**given, "config": fleet})) as made:
        made.broker.redis.flushdb()
        rows = texts(600, 1)
        record = train([text for text, _ in rows], [label for _, label in rows], TASK, made.settings.blobs).as_dict()
        with made.context.database.unit_of_work() as session:
            versions.put_task(session, TASK, str(record["version"]), record)
        made.orchestrator()
        made.worker("slm", "llm", "rlm")
        yield made


def newest_folder(stack: Stack) -> Path:
    version = certifying.newest(stack.context, OWNER.tenant_id, TASK).specialist
    return specialist.version_folder(stack.settings.blobs, TASK, str(version))


def scored(stack: Stack, n: int, seed: int) -> list[Held]:
    found, _ = specialist.load(newest_folder(stack))
    rows = texts(n, seed)
    said = found.predict([text for text, _ in rows])
    return [
        Held(text_sha256(text), getattr(one, "score", one.confidence), one.label == label)
        for (text, label), one in zip(rows, said, strict=True)
    ]


def run(stack: Stack, rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    batch = stack.submit(row(str(at), ask(text, label)) for at, (text, label) in enumerate(rows))
    stack.wait(batch, 120.0)
    stack.must_hold(batch, len(rows))
    return stack.lines(batch)


def models_of(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(line["rightsize"]["model"] for line in lines)


def test_a_certificate_is_issued_on_fresh_rows_and_spends_less_at_each_attempt(stack: Stack) -> None:
    asked = Request(TASK, 0.95, 0.05, "accuracy", reference_low=0.99)
    unlabelled = [one.score for one in scored(stack, 500, 2)]
    rows = Sample(scored(stack, 600, 3), unlabelled, {"source": "test"})
    first = certifying.attempt(stack.context, OWNER.tenant_id, asked, rows)
    assert first["issued"], first["reason"]
    assert (first["attempt"], first["n"]) == (1, 600)
    assert first["bound"] >= 0.95
    with pytest.raises(Exception, match="None of the 600 rows can be used"):
        certifying.attempt(stack.context, OWNER.tenant_id, asked, rows)
    again = certifying.attempt(stack.context, OWNER.tenant_id, asked, Sample(scored(stack, 600, 4), unlabelled, {}))
    assert again["delta_spent"] == pytest.approx(first["delta_spent"] / 4)


def test_without_a_promotion_the_reference_answers_and_the_shadow_only_listens(stack: Stack) -> None:
    promoting.promote(stack.context, OWNER.tenant_id, Wish(TASK, "shadow", "test", audit_share=1.0))
    wait_for_stage(stack, "shadow")
    lines = run(stack, texts(40, 5))
    assert models_of(lines) == {"large": 40}
    until(lambda: decided(stack, "shadow") == 40, what="the specialist was asked beside each of them")
    assert stack.count("SELECT count(*) FROM audits WHERE agrees AND score IS NOT NULL AND text_hash IS NOT NULL") >= 35
    assert stack.count("SELECT count(*) FROM transfers WHERE tier = 'slm' AND kind IN ('charge', 'rejected')") == 0
    assert (
        stack.count(
            "SELECT count(*) FROM transfers WHERE tier = 'slm' AND kind = 'cost' AND debit_account = 'cost:house'"
        )
        == 40
    )


def test_what_the_shadow_compared_shows_agreement_and_is_used_once(stack: Stack) -> None:
    asked = Request(TASK, 0.99, 0.05, "agreement")  # twenty rows show no such thing: no certificate of this stays
    found = certifying.attempt(stack.context, OWNER.tenant_id, asked, None)
    assert not found["issued"]
    assert (found["measure"], found["n"], found["frame"]["reference"], found["frame"]["probability"]) == (
        "agreement",
        20,
        "large",
        1.0,
    )
    with pytest.raises(InvalidRequest, match="20 were used by an earlier attempt"):
        certifying.attempt(stack.context, OWNER.tenant_id, asked, None)


def test_a_judge_compares_both_answers_in_both_orders_and_only_we_pay(stack: Stack) -> None:
    told: list[tuple[int, int]] = []
    found = judging.run(stack.context, OWNER.tenant_id, TASK, 30, lambda ended, of: told.append((ended, of)))
    assert (found["n"], found["no_verdict"], found["biased"]) == (30, 0, 0)
    assert found["good"] >= 27
    assert told[-1] == (60, 60)
    assert found["corrected"]["quality"] is None, "no label has shown yet how far this judge can be trusted"
    assert found["corrected"]["missing_right"] == 20
    assert stack.count("SELECT count(*) FROM labels WHERE source = 'judge' AND probability = 0.75") == 30
    assert stack.count("SELECT count(*) FROM transfers WHERE tier = 'rlm' AND kind <> 'cost'") == 0
    assert stack.count("SELECT count(*) FROM transfers WHERE tier = 'rlm' AND debit_account = 'cost:house'") == 60
    stack.must_hold()


def test_what_a_task_took_and_how_good_it_is_is_measured(stack: Stack) -> None:
    (facts,) = measuring.measure(stack.context, OWNER.tenant_id, Period.of_days(None, None))
    assert (facts.task, facts.jobs, facts.reference, facts.stage.stage) == (TASK, 40, "large", "shadow")
    large, ours = facts.model("large"), facts.specialist
    assert large is not None
    assert large.by("checks") is None, "nothing asks for a form of the answers"
    assert ours is not None
    assert (large.jobs, str(large.charge_usd)) == (40, "2.000000000000")
    assert ours.jobs == 0
    agreement = ours.by("agreement")
    assert agreement is not None
    assert (agreement.n, agreement.low < agreement.value <= agreement.high) == (40, True)
    assert (facts.audits.count, facts.audits.shadow) == (0, 40), "questions to the judge are no audits"


def test_in_full_the_sure_ones_are_answered_alone_and_the_others_go_on(stack: Stack) -> None:
    promoting.promote(stack.context, OWNER.tenant_id, Wish(TASK, "full", "test", audit_share=0.5))
    wait_for_stage(stack, "full")
    lines = run(stack, texts(400, 6))
    said = models_of(lines)
    assert said["specialist"] > 300
    assert said["large"] > 0
    assert {line["rightsize"]["rule"] for line in lines} == {"certified"}
    one = next(line for line in lines if line["rightsize"]["model"] == "large")
    assert one["rightsize"]["attempts"] == 2
    until(
        lambda: stack.count("SELECT count(*) FROM audits WHERE state IN ('drawn', 'asked')") == 0,
        what="audits have ended",
    )
    assert 100 < decided(stack, "audit") < 300
    assert stack.query("SELECT stage FROM stages ORDER BY id DESC LIMIT 1")[0][0] == "full"


def test_a_caller_who_waits_is_answered_by_the_specialist_and_may_say_how_good_that_was(stack: Stack) -> None:
    before = stack.count("SELECT count(*) FROM audits")
    with serve(stack) as api:
        answers = [api.post("/v1/chat/completions", ask(text, label)) for text, label in texts(20, 10)]
        assert {answer.status_code for answer in answers} == {200}
        told = [answer.json()["rightsize"] for answer in answers]
        assert {one["rule"] for one in told} == {"certified"}
        assert {one["model"] for one in told} <= {"specialist", "large"}
        job = answers[0].headers["x-rightsize-job"]
        assert api.post(f"/v1/jobs/{job}/feedback", {"good": False, "label": "refund"}).json()["label"] == "refund"
        assert api.post(f"/v1/jobs/{job}/feedback", {}).status_code == 400
        assert api.post(f"/v1/jobs/job_{'0' * 32}/feedback", {"good": True}).status_code == 404
        bare = api.post("/v1/chat/completions", chat("No task")).headers["x-rightsize-job"]
        untold = api.post(f"/v1/jobs/{bare}/feedback", {"good": True})
        assert (untold.status_code, untold.json()["error"]["code"]) == (409, "conflict")
        assert "has no task" in untold.text
    assert stack.count("SELECT count(*) FROM audits") > before, "half of them are drawn by the API itself"
    assert stack.count("SELECT count(*) FROM labels WHERE source = 'feedback' AND label = 'refund' AND NOT good") == 1
    stack.must_hold()


def test_jobs_that_were_drawn_and_labelled_carry_a_certificate_of_accuracy(stack: Stack, tmp_path: Path) -> None:
    right = {text: label for seed, n in ((5, 40), (6, 400), (10, 20)) for text, label in texts(n, seed)}

    def give(rows: list[dict[str, str]]) -> None:
        lines = ["job,label", *(f"{row['job']},{right.get(row['text'], 'unknown')}" for row in rows)]
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
        label_file(stack.context, OWNER.tenant_id, TASK, tmp_path / "labels.csv", "job", "label", given_by="test")

    with pytest.raises(InvalidRequest, match="label triage --draw 500"):
        held_rows.of_jobs(stack.context, OWNER.tenant_id, TASK, newest_folder(stack))
    drawn = draw_to_label(stack.context, OWNER.tenant_id, TASK, 200)
    give(drawn[:150])
    with pytest.raises(
        InvalidRequest, match=r"[45]\d of 1[89]\d jobs that were drawn for people to label have no label yet"
    ):
        held_rows.of_jobs(stack.context, OWNER.tenant_id, TASK, newest_folder(stack))
    left = draw_to_label(stack.context, OWNER.tenant_id, TASK, 50)
    assert {row["job"] for row in left} == {row["job"] for row in drawn[150:]}, "those that were passed over come again"
    give(left)
    (facts,) = measuring.measure(stack.context, OWNER.tenant_id, Period.of_days(None, None))
    assert facts.held_labels == 120, "what training kept aside is taken first"
    rows = held_rows.of_jobs(stack.context, OWNER.tenant_id, TASK, newest_folder(stack))
    assert 180 <= len(rows.held) < 200, "some of them were used for what the shadow compared"
    assert (rows.frame["without_a_label"], rows.frame["of_other_draws"]) == (0, 0)
    found = certifying.attempt(stack.context, OWNER.tenant_id, Request(TASK, 0.8, 0.05, "accuracy"), rows)
    assert (found["measure"], found["n"], found["attempt"]) == ("accuracy", len(rows.held), 4)
    assert found["issued"], found["reason"]
    with pytest.raises(InvalidRequest, match="No rows of task triage are left"):
        held_rows.of_jobs(stack.context, OWNER.tenant_id, TASK, newest_folder(stack))
    assert stack.count("SELECT count(DISTINCT probability) FROM labels WHERE source = 'label'") == 1


def test_a_renewal_that_issues_nothing_takes_nothing_from_the_certificate_in_force(stack: Stack) -> None:
    unlabelled = [one.score for one in scored(stack, 500, 2)]
    again = certifying.attempt(
        stack.context,
        OWNER.tenant_id,
        Request(TASK, 0.999, 0.05, "accuracy"),
        Sample(scored(stack, 60, 11), unlabelled, {}),
    )
    assert not again["issued"]
    (facts,) = measuring.measure(stack.context, OWNER.tenant_id, Period.of_days(None, None))
    certificate = facts.stage.certificate
    assert certificate is not None
    assert (certificate.issued, certificate.is_void, certificate.n) == (True, False, 600)
    assert facts.training_s > 0


def test_what_callers_and_people_say_goes_into_what_is_learned_from(stack: Stack) -> None:
    found = Counter(one.source for one in past.examples(stack.context, OWNER.tenant_id, TASK))
    fed_back = "FROM labels f WHERE source = 'feedback'"
    labelled_too = "EXISTS (SELECT FROM labels l WHERE l.job_id = f.job_id AND l.source = 'label')"
    assert stack.count(f"SELECT count(*) {fed_back}") == 1
    assert found["feedback"] == stack.count(f"SELECT count(*) {fed_back} AND NOT {labelled_too}"), (
        "a label that was drawn for the same job counts before it"
    )
    assert found["label"] == 200
    assert found["reference"] > 100


def test_where_the_labels_that_come_in_change_more_is_audited(stack: Stack) -> None:
    cards = [one for one in texts(600, 9) if one[1] == "card"][:150]
    run(stack, cards)
    until(lambda: drifting.look_at_all(stack.context) or drifted(stack), what="it is seen")
    assert drifted(stack)
    assert stack.query("SELECT audit_share FROM stages ORDER BY id DESC LIMIT 1")[0][0] == 1.0
    assert stack.query("SELECT stage FROM stages ORDER BY id DESC LIMIT 1")[0][0] == "full"


def drifted(stack: Stack) -> bool:
    return stack.count("SELECT count(*) FROM stages WHERE drifted_at IS NOT NULL") > 0


def test_when_quality_halves_it_is_demoted_within_200_audits_and_nothing_is_lost(stack: Stack) -> None:
    until(
        lambda: stack.count("SELECT count(*) FROM audits WHERE state IN ('drawn', 'asked')") == 0,
        what="audits of before have ended",
    )
    before = decided(stack, "audit")
    drifted = [(text, OTHERS[label] if at % 2 else label) for at, (text, label) in enumerate(texts(1_500, 7))]
    run(stack, drifted)
    wait_for_stage(stack, "demoted")
    assert "below the target" in stack.query("SELECT reason FROM stages ORDER BY id DESC LIMIT 1")[0][0]
    seen = stack.query("SELECT watch FROM stages WHERE stage = 'full' ORDER BY id DESC LIMIT 1")[0][0]["seen"]
    assert seen - before <= 200
    assert models_of(run(stack, texts(40, 8))) == {"large": 40}
    stack.must_hold()


def test_what_audits_took_back_does_not_come_back_by_rows_of_a_file(stack: Stack) -> None:
    rows = Sample(scored(stack, 600, 31), [one.score for one in scored(stack, 500, 32)], {"source": "fresh.csv"})
    found = certifying.attempt(stack.context, OWNER.tenant_id, Request(TASK, 0.8, 0.05, "accuracy"), rows)
    assert found["issued"], found["reason"]
    with pytest.raises(InvalidRequest, match=f"Audits took back what version .* promote {TASK} --to shadow"):
        promoting.promote(stack.context, OWNER.tenant_id, Wish(TASK, "full", "test"))
    with stack.context.database.unit_of_work() as session:
        told = standing.told(session, OWNER.tenant_id, TASK)
    assert "audits are wrong" in told["history"][0]["reason"]
    assert set(told["audits"]) == {"audit"}, "what the shadow compared was under no certificate"


def test_a_task_that_was_frozen_by_hand_is_told_as_that(stack: Stack) -> None:
    promoting.freeze(stack.context, OWNER.tenant_id, TASK, set_by="test")
    (facts,) = measuring.measure(stack.context, OWNER.tenant_id, Period.of_days(None, None))
    assert facts.stage.frozen
    assert facts.stage.demoted_on is not None


def test_labels_and_audits_go_with_what_they_were_about(stack: Stack) -> None:
    upkeep.forget_evidence(stack.context, lambda: False)
    assert stack.count("SELECT count(*) FROM labels") > 200
    with stack.context.database.unit_of_work() as session:
        session.execute(sql("UPDATE labels SET created_at = created_at - interval '40 days'"))
        session.execute(sql("UPDATE audits SET created_at = created_at - interval '40 days'"))
    upkeep.forget_evidence(stack.context, lambda: False)
    assert stack.count("SELECT count(*) FROM labels") > 200, "their jobs are of today"
    assert stack.count("SELECT count(*) FROM audits WHERE state IN ('decided', 'void')") == 0
    with stack.context.database.unit_of_work() as session:
        session.execute(sql("UPDATE jobs SET stored_on = stored_on - 40"))
    upkeep.forget_evidence(stack.context, lambda: False)
    assert stack.count("SELECT count(*) FROM labels") == 0


def decided(stack: Stack, kind: str) -> int:
    return stack.count("SELECT count(*) FROM audits WHERE state = 'decided' AND kind = :kind", kind=kind)


def wait_for_stage(stack: Stack, stage: str) -> None:
    """Wait until it is in force for whoever routes: they look every two seconds."""

    def there() -> bool:
        with stack.context.database.unit_of_work() as session:
            return stages.in_force(session, OWNER.tenant_id)[TASK].stage == stage

    until(there, what=f"stage {stage}")
    until(
        lambda: stack.count("SELECT count(*) FROM stages WHERE created_at > now() - interval '2.5 s'") == 0,
        what="everybody knows",
    )
