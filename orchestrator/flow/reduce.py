"""Reduce: a document whose pieces have all been answered gets its one answer, by the rule that its task names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.contracts import FIELDS, JobState
from orchestrator.crashpoints import reached
from orchestrator.errors import Refused, ServiceUnavailable
from orchestrator.flow import review, tasks, tree
from orchestrator.flow.context import Context
from orchestrator.store import batches, pieces
from orchestrator.store.batches import Tally
from orchestrator.structured import checked_schema, differences
from orchestrator.tasks.definition import Task
from orchestrator.tasks.reducing import is_in_list, reduced
from orchestrator.telemetry import log_fault

MOST_WORDS: Final = 2_000
BUG: Final = (
    "Rightsize met a fault of its own when it put the answers to the pieces together. This is a bug: report it."
)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a document has no answer."""

    code: str
    message: str


def reduce_due(context: Context) -> int:
    """Give every document its answer all of whose pieces have ended, each in a transaction of its own; returns how many."""
    with context.database.unit_of_work() as session:
        found = pieces.due(session)
    done = 0
    for job_id in found:
        with context.database.unit_of_work() as session:
            job = pieces.hold(session, job_id)
            if job is not None:
                _reduce(context, session, job)
                done += 1
            reached("reduce.before_commit")
    if done:
        context.broker.wake()
    return done


def _reduce(context: Context, session: Session, job: Row[Any]) -> None:
    answered = pieces.answers(session, job.id, job.level)
    last = answered[-1]
    task = tasks.of_version(session, job.tenant_id, job.task, job.task_version).task
    try:
        made = _made(context, task, job, answered)
    except ServiceUnavailable:
        raise
    except Exception as error:  # it would meet the same fault in every pass, and its batch would never end
        log_fault("read_failed", error, batch=job.batch_id)
        made = Failed("internal_error", BUG)
    if isinstance(made, list):
        refused = _ask_once_more(context, session, job, task, made)
        if refused is None:
            return
        made = refused
    state = JobState.FAILED if isinstance(made, Failed) else JobState.SUCCEEDED
    if isinstance(made, Failed):
        pieces.end(session, job, state, tier=last.tier, model=last.model, code=made.code, message=made.message)
    else:
        body = orjson.dumps(made)
        blob_key = None
        if len(body) > context.settings.inline_body_bytes:
            blob_key = f"results/{job.public_id.hex[:8]}/{job.public_id.hex}-whole"
            context.blobs.put(blob_key, body)
        pieces.end(session, job, state, tier=last.tier, model=last.model)
        pieces.put_result(session, job, None if blob_key else body, blob_key)
        review.note(session, job, made.get(FIELDS) or {}, str(made["choices"][0]["message"]["content"]))
    batches.add_progress(session, [Tally(job.batch_id, last.tier, last.model, state, 1)])


def _made(
    context: Context, task: Task, job: Row[Any], answered: Sequence[Row[Any]]
) -> dict[str, Any] | list[str] | Failed:
    """The one answer, in the form of the pieces'; of a tree what the parts say, of which a model makes it; or why there is none."""
    for number, one in enumerate(answered, 1):
        if one.state != JobState.SUCCEEDED:
            why = one.fault_message or f"It {JobState(one.state).label}."
            return Failed(one.fault_code or "piece_failed", f"Piece {number} of {len(answered)}: {why}"[:MOST_WORDS])
    bodies = [orjson.loads(context.blobs.get(one.blob_key) if one.blob_key else one.body) for one in answered]
    texts = [str((body["choices"][0].get("message") or {}).get("content") or "") for body in bodies]
    if task.splitting.reduce == "tree":
        return texts
    found = reduced(texts, task.splitting.reduce, task.output_schema)
    if task.output_schema is not None:
        wrong = differences(found.answer, checked_schema(task.output_schema, "output_schema"))
        if wrong:
            told = "; ".join(f"{pointer or 'the whole'}: {message}" for pointer, message in wrong)
            return Failed(
                "wrong_form",
                f"The answers to its {len(answered)} pieces do not make one of the task's form: {told}"[:MOST_WORDS],
            )
    whole = {
        **bodies[0],
        "id": f"chatcmpl-{job.public_id.hex}",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": found.answer}, "finish_reason": "stop"}],
        "usage": _usage(bodies),
    }
    fields = _fields(bodies, texts, found.conflicts)
    return {**whole, FIELDS: fields} if fields else whole


def _usage(bodies: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What all pieces took."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: sum(int((body.get("usage") or {}).get(name) or 0) for body in bodies) for name in names}


def _fields(
    bodies: Sequence[Mapping[str, Any]], texts: Sequence[str], conflicts: Mapping[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """Where each value stands: found by the piece that it is from; of which the pieces differ, people should look at it."""
    fields: dict[str, Any] = {}
    for body, text in zip(bodies, texts, strict=True):
        for pointer, one in (body.get(FIELDS) or {}).items():
            if is_in_list(text, pointer):
                continue  # the entries of a list have other places in the one answer
            known = fields.get(pointer)
            if known is None or (one["found"] and not known["found"]):
                fields[pointer] = one
    for pointer, said in conflicts.items():
        fields[pointer] = {
            **fields.get(pointer, {"found": False, "page": None, "box": None, "confidence": None}),
            "review": "conflict",
            "said": said,
        }
    return fields


def _ask_once_more(
    context: Context, session: Session, job: Row[Any], task: Task, answers: Sequence[str]
) -> Failed | None:  # fmt: skip
    """Have a model make one answer of those to the parts; None where that is on its way."""
    try:
        tree.ask_once_more(context, session, job, task, answers)
    except Refused as error:
        return Failed(error.code, f"The answers to its pieces cannot be made one: {error.message}"[:MOST_WORDS])
    return None
