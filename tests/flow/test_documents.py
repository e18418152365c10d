"""Rows that are documents: asked as their task says, held to it, and paid for once."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import wave
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.flow import cancel, tasks
from orchestrator.flow.again import Again, retry_batch
from orchestrator.settings import Settings
from tests.stack import OWNER, Stack, row, until

LABELS = {"task": "classify", "parameters": {"labels": ["right", "wrong"]}, "on_invalid_row": "report"}


def document(name: str, text: str = "Where is my order 4711?", **more: Any) -> dict[str, Any]:
    """A document of one page, as a client read it."""
    return {
        "name": name, "hash": hashlib.sha256(text.encode()).hexdigest(), "kind": "text", "bytes": len(text),
        "pages": [{"number": 1, "source": "text"}], "blocks": [[1, text, "paragraph", 0, [0, 0, 1, 0.1]]], **more,
    }  # fmt: skip


def known(name: str, text: str = "Where is my order 4711?") -> dict[str, Any]:
    """The same, not read."""
    return {key: value for key, value in document(name, text).items() if key in ("name", "hash", "kind", "bytes")}


def lines_of(stack: Stack, *documents: dict[str, Any], hints: dict[str, Any] | None = None) -> dict[str, Any]:
    """The lines of a batch of documents by their names, once it has ended, and that every invariant holds."""
    batch = stack.submit([row(one["name"], {"document": one}) for one in documents], hints=hints or LABELS)
    ended = stack.wait(batch)
    stack.must_hold(batch, len(documents))
    assert ended.status == "completed", ended.errors
    return {line["custom_id"]: line for line in stack.lines(batch)}


def test_a_document_is_asked_as_its_task_says_and_its_answer_says_what_it_is_about(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    line = lines_of(stack, document("a.txt"))["a.txt"]
    body = line["response"]["body"]
    assert json.loads(body["choices"][0]["message"]["content"])["label"] in ("right", "wrong")
    about = line["rightsize"]["document"]
    assert (about["name"], about["kind"], about["pages"], about["sources"]) == ("a.txt", "text", 1, {"text": 1})
    ours = line["rightsize"]
    assert (ours["task"], ours["task_version"], ours["reused"]) == ("classify", 1, False)
    (stored,) = stack.query("SELECT body FROM job_requests")
    asked = json.loads(bytes(stored.body))
    assert "right" in asked["messages"][0]["content"]
    assert asked["messages"][-1]["content"].startswith("<document>\nWhere is my order")


def test_what_was_answered_before_is_taken_and_costs_nothing(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    first = lines_of(stack, document("a.txt"), document("b.txt", "Refund please"))
    charged = stack.query("SELECT sum(amount_usd) AS usd FROM transfers WHERE kind = 'charge'")[0].usd
    again = lines_of(
        stack, known("renamed.txt"), document("b.txt", "Refund please, now"), known("b-old.txt", "Refund please")
    )
    assert [again[name]["rightsize"]["reused"] for name in ("renamed.txt", "b.txt", "b-old.txt")] == [True, False, True]
    assert again["renamed.txt"]["response"]["body"] == first["a.txt"]["response"]["body"]
    assert again["renamed.txt"]["rightsize"]["document"]["name"] == "renamed.txt"
    assert again["renamed.txt"]["rightsize"]["simulated"] is True
    assert Decimal(again["renamed.txt"]["rightsize"]["cost_usd"]) == 0
    ran = stack.query("SELECT count(*) AS jobs, sum(amount_usd) AS usd FROM transfers WHERE kind = 'charge'")[0]
    assert ran.jobs == 3
    assert ran.usd > charged
    other = lines_of(
        stack, document("a.txt"), hints={**LABELS, "parameters": {"labels": ["right", "wrong", "neither"]}}
    )
    assert other["a.txt"]["rightsize"]["reused"] is False
    refreshed = lines_of(stack, document("a.txt"), hints={**LABELS, "refresh": True})
    assert refreshed["a.txt"]["rightsize"]["reused"] is False


def test_a_document_that_was_not_read_and_has_no_result_says_so(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    lines = lines_of(stack, known("gone.txt", "never seen"), document("a.txt"))
    assert "was not read" in lines["gone.txt"]["error"]["message"]
    assert lines["a.txt"]["error"] is None


LONG = {"task": "extract", "on_invalid_row": "report"}
SCHEMA = {
    "type": "object",
    "properties": {
        "issuer": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
}


def long_document(name: str, paragraphs: int = 12) -> dict[str, Any]:
    """A document of several pages, each a paragraph."""
    texts = [f"Paragraph {number}. " + "It goes on and on. " * 40 for number in range(paragraphs)]
    whole = "\n\n".join(texts)
    return {
        **document(name, whole), "pages": [{"number": number, "source": "text"} for number in range(1, paragraphs + 1)],
        "blocks": [[number, text, "paragraph", 0, [0, 0, 1, 1]] for number, text in enumerate(texts, 1)],
    }  # fmt: skip


def define(stack: Stack, **more: Any) -> str:
    """A task of one's own; its name."""
    tasks.define(stack.context, OWNER, {"name": "long", "instructions": "Do it.", **more})
    return "long"


def test_a_long_document_is_asked_in_pieces_and_is_one_line(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    task = define(stack, output_schema=SCHEMA, splitting={"reduce": "merge-fields", "max_tokens": 1_000})
    line = lines_of(stack, long_document("a.pdf"), document("b.txt"), hints={"task": task})["a.pdf"]
    about = line["rightsize"]["document"]
    assert line["rightsize"]["pieces"] > 2
    assert about["pages"] == 12
    charges = stack.query(
        "SELECT sum(amount_usd) AS usd FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE t.kind = 'charge' AND j.parent_job_id IS NOT NULL"
    )
    assert Decimal(line["rightsize"]["cost_usd"]) == charges[0].usd > 0
    assert line["rightsize"]["simulated"] is True
    assert "pieces of at most" in line["rightsize"]["reasons"][0]
    again = lines_of(
        stack, known("a.pdf", "\n\n".join(one[1] for one in long_document("a.pdf")["blocks"])), hints={"task": task}
    )
    assert again["a.pdf"]["rightsize"]["reused"] is True


def test_the_pieces_of_a_summary_become_one_by_another_request(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    task = define(stack, splitting={"reduce": "tree", "max_tokens": 1_000})
    line = lines_of(stack, long_document("a.pdf"), hints={"task": task})["a.pdf"]
    (job,) = stack.query("SELECT attempts, pieces FROM jobs WHERE parent_job_id IS NULL")
    assert (job.attempts, job.pieces) == (1, line["rightsize"]["pieces"])
    (asked,) = stack.query(
        "SELECT body FROM job_requests r JOIN jobs j ON j.id = r.job_id WHERE j.parent_job_id IS NULL"
    )
    assert "answers to its parts" in json.loads(bytes(asked.body))["messages"][-1]["content"]


def test_summaries_that_are_too_long_together_are_summarised_level_by_level(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    limits = {"max_output_tokens": 200}
    task = define(stack, splitting={"reduce": "tree", "max_tokens": 1_000}, limits=limits)
    line = lines_of(stack, long_document("a.pdf", 160), hints={"task": task})["a.pdf"]
    levels = stack.query(
        "SELECT level, count(*) AS jobs FROM jobs WHERE parent_job_id IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    counts = [one.jobs for one in levels]
    assert len(counts) >= 2
    assert counts == sorted(counts, reverse=True)
    assert line["rightsize"]["pieces"] == sum(counts)
    told = stack.query(
        "SELECT body FROM job_requests r JOIN jobs j ON j.id = r.job_id WHERE j.level > 1 AND parent_job_id IS NOT NULL"
    )
    assert all("answers to some of its parts" in json.loads(bytes(one.body))["messages"][-1]["content"] for one in told)
    charged = stack.query("SELECT sum(amount_usd) AS usd FROM transfers WHERE kind = 'charge'")[0].usd
    assert Decimal(line["rightsize"]["cost_usd"]) == charged


def test_answers_that_do_not_get_shorter_end_their_document_with_the_remedy(settings: Settings, tmp_path: Path) -> None:
    wordy = tmp_path / "fleet.toml"
    assert settings.config is not None
    wordy.write_text(
        settings.config.read_text().replace(
            "latency_s = [0.0, 0.0]", "latency_s = [0.0, 0.0]\noutput_tokens = [300, 300]", 1
        )
    )
    with Stack(settings.model_copy(update={"config": wordy})) as stack:
        stack.orchestrator()
        stack.worker("llm")
        task = define(stack, splitting={"reduce": "tree", "max_tokens": 200})
        line = lines_of(stack, long_document("a.pdf", 8), hints={"task": task, "escalate": False})["a.pdf"]
    assert "do not get shorter" in line["error"]["message"]
    assert "max_output_tokens" in line["error"]["message"]


def test_the_request_that_makes_one_answer_is_routed_as_its_batch_says(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm", "rlm")
    task = define(stack, splitting={"reduce": "tree", "max_tokens": 1_000})
    lines_of(stack, long_document("a.pdf"), hints={"task": task, "tier": "rlm"})
    assert {one.tier for one in stack.query("SELECT tier FROM jobs")} == {"rlm"}


def test_a_piece_that_fails_fails_its_document_and_the_others_are_not_paid_twice(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    task = define(stack, splitting={"reduce": "concat", "max_tokens": 1_000})
    wicked = long_document("a.pdf")
    wicked["blocks"][11][1] = "[[fail:refused]] " + wicked["blocks"][11][1]
    line = lines_of(stack, wicked, hints={"task": task, "escalate": False})["a.pdf"]
    assert line["error"]["message"].startswith("Piece ")
    paid = stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'")
    assert paid >= 2
    lines_of(stack, wicked, hints={"task": task, "escalate": False})
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == paid


def test_a_batch_that_is_cancelled_ends_documents_that_wait_for_their_pieces(stack: Stack) -> None:
    task = define(stack, splitting={"reduce": "concat", "max_tokens": 1_000})
    stack.orchestrator()
    batch = stack.submit([row("a.pdf", {"document": long_document("a.pdf")})], hints={"task": task})
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 4"), what="it waits for its pieces")
    cancel.cancel_batch(stack.context, OWNER, stack.batch(batch).public_id)
    ended = stack.wait(batch)
    assert (ended.status, ended.final["failed"]) == ("cancelled", 1)
    stack.must_hold(batch, 1)


def test_documents_that_failed_run_again_on_the_tier_that_is_named(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm", "rlm")
    hints = {"task": "classify", "parameters": LABELS["parameters"], "on_invalid_row": "report", "escalate": False}
    batch = stack.submit(
        [row("a.txt", {"document": document("a.txt", "[[fail:refused]] Hello")}), row("b.txt", {"document": document("b.txt")})], hints=hints
    )  # fmt: skip
    first = stack.wait(batch)
    assert first.final["failed"] == 1
    again = retry_batch(stack.context, OWNER, first.public_id, Again(tier="rlm"), None)
    stack.wait(again.id)
    (line,) = stack.lines(again.id)
    assert (line["custom_id"], line["rightsize"]["tier"], line["rightsize"]["task_version"]) == ("a.txt", "rlm", 1)
    assert line["rightsize"]["document"]["name"] == "a.txt"
    stack.must_hold(again.id, 1)


def test_a_field_that_breaks_its_rule_is_told_by_its_pointer_with_what_was_said(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    schema = {
        "type": "object",
        "properties": {"total": {"type": "number"}, "when": {"type": "string", "format": "date"}},
        "required": ["total"],
    }
    checks = [{"field": "/total", "rule": "range", "least": "1"}, {"field": "/when", "rule": "date"}]
    task = define(stack, output_schema=schema, checks=checks, escalate=False)
    line = lines_of(stack, document("a.txt"), hints={"task": task})["a.txt"]
    assert line["error"]["code"] == "wrong_form"
    assert [one["pointer"] for one in line["rightsize"]["violations"]] == ["/total"]
    assert json.loads(line["rightsize"]["raw"])["total"] == 0


def test_a_large_result_that_is_taken_over_has_a_copy_of_its_own(settings: Settings) -> None:
    with Stack(settings.model_copy(update={"inline_body_bytes": 100})) as stack:
        stack.orchestrator()
        stack.worker("llm")
        first = lines_of(stack, document("a.txt"))["a.txt"]
        again = lines_of(stack, known("a.txt"))["a.txt"]
        assert again["response"]["body"] == first["response"]["body"]
        keys = [found.blob_key for found in stack.query("SELECT blob_key FROM results ORDER BY job_id")]
        assert None not in keys
        assert len(set(keys)) == 2


def test_fields_of_which_pieces_differ_are_for_people_to_look_at(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    schema = {"type": "object", "properties": {"issuer": {"type": "string"}}}
    task = define(stack, output_schema=schema, splitting={"reduce": "merge-fields", "max_tokens": 1_000})
    line = lines_of(stack, long_document("a.pdf"), hints={"task": task})["a.pdf"]
    (noted,) = stack.query("SELECT task, fields, state FROM reviews")
    assert (noted.task, noted.state) == ("long", "open")
    assert noted.fields["/issuer"]["reasons"] == ["not_in_source"]
    assert line["response"]["body"]["rightsize_fields"]["/issuer"]["review"] == "not_in_source"


def test_a_recording_is_heard_by_the_tier_that_has_ears(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm", "mllm")
    wav = io.BytesIO()
    with wave.open(wav, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(32_000))
    recording = {
        **document("talk.wav", "talk"), "kind": "wav", "pages": [{"number": 1, "source": "none", "why": "it is to be heard"}], "blocks": [],
        "sounds": [{"data": base64.b64encode(wav.getvalue()).decode(), "format": "wav"}],
    }  # fmt: skip
    line = lines_of(stack, recording, hints={"task": "transcribe"})["talk.wav"]
    assert line["error"] is None, line
    assert (line["rightsize"]["tier"], line["rightsize"]["rule"]) == ("mllm", "needs_eyes_or_ears")
    (asked,) = stack.query("SELECT audio_seconds FROM attempts")
    assert asked.audio_seconds == 2


def test_what_each_scanned_page_costs_either_way_stands_with_the_answer(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    pages = [{"number": 1, "source": "ocr", "confidence": 0.99, "why": "sure enough", "chars": 400}]
    line = lines_of(stack, document("scan.pdf", "Hello scan", pages=pages))["scan.pdf"]
    (choice,) = line["rightsize"]["document"]["choices"]
    assert (choice["page"], choice["goes_as"], choice["why"]) == (1, "text", "sure enough")
    assert Decimal(choice["picture_usd"]) > Decimal(choice["text_usd"]) > 0
    assert line["rightsize"]["document"]["read_here"] == 1


def test_the_bound_on_one_document_holds_for_all_of_its_pieces_together(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    long, limits = long_document("a.pdf", 60), {"max_output_tokens": 100}
    task = define(stack, splitting={"reduce": "concat", "max_tokens": 1_000}, limits={**limits, "max_cost_usd": "0.02"})
    line = lines_of(
        stack, long, document("b.txt"), hints={"task": task, "escalate": False, "on_invalid_row": "report"}
    )["a.pdf"]
    assert "pieces could cost" in line["error"]["message"]
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 1


def test_a_tier_that_the_caller_names_is_not_left_for_a_dearer_one(stack: Stack) -> None:
    stack.orchestrator()
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^never$"}}, "required": ["x"]}
    task = define(stack, output_schema=schema)
    stack.worker("llm", "rlm")
    lines_of(stack, document("a.txt"), hints={"task": task, "tier": "llm"})
    assert {one.tier for one in stack.query("SELECT tier FROM attempts")} == {"llm"}
    lines_of(stack, document("b.txt", "Other"), hints={"task": task})
    assert {one.tier for one in stack.query("SELECT tier FROM attempts")} == {"llm", "rlm"}
