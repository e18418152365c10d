"""Reviewing: people read the list of answers to be looked at, and correct, confirm or drop each; a correction is the result's next version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import FIELDS, Owner
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.flow import tasks
from orchestrator.flow.administer import Actor
from orchestrator.flow.context import Context
from orchestrator.store import batches, jobs, review, tenants
from orchestrator.structured import checked_schema, differences
from orchestrator.tasks import verdict
from orchestrator.tasks.checks import values_at
from orchestrator.tasks.definition import Task
from orchestrator.tasks.verdict import Held

Action = Literal["correct", "confirm", "drop"]
BECOMES: Final[Mapping[Action, str]] = {"correct": "corrected", "confirm": "confirmed", "drop": "dropped"}
MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
MOST_TOLD: Final = 20
"""Fields of a correction that are told to be wrong."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says of an answer."""

    action: Action
    answer: Any = None
    """Of a correction: the whole answer."""
    force: bool = False
    """Whether it counts where somebody said otherwise before."""


def listed(
    context: Context, owner: Owner, task: str, *, state: str, after: str | None, limit: int
) -> dict[str, Any]:  # fmt: skip
    """A page of a task's reviews, the oldest first; raises NotFound for a task that nobody knows."""
    last = 0
    with context.database.unit_of_work(owner.tenant_id) as session:
        if after is not None:
            last = _found(session, owner.tenant_id, after).id
        page = review.listed(session, owner.tenant_id, task, state, after=last, limit=limit + 1)
    if not page and after is None:
        tasks.show(context, owner, task)
    return _page([_told(row) for row in page[:limit]], has_more=len(page) > limit)


def show(context: Context, owner: Owner, name: str) -> dict[str, Any]:
    """A review with the answer as it stands now; raises NotFound."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = _found(session, owner.tenant_id, name)
        stands = review.newest(session, row)
    return _whole(row, stands, _body(context, stands))


def decide(context: Context, actor: Actor, name: str, wanted: Decision) -> dict[str, Any]:
    """Decide a review; what was decided in the same way before is left as it is.

    Raises NotFound, InvalidRequest that names each field of a correction that is wrong, or Conflict where it was decided otherwise.
    """
    with context.database.unit_of_work(actor.tenant_id) as session:
        row = _found(session, actor.tenant_id, name, held=True)
        stands = review.newest(session, row)
        body = _body(context, stands)
        if wanted.action == "correct":
            _check(tasks.of_version(session, actor.tenant_id, row.task, row.task_version).task, wanted.answer)
        if row.state != review.OPEN:
            if _is_same(row, body, wanted):
                return _whole(row, stands, body)
            if not wanted.force:
                raise Conflict(
                    f"It was {row.state} by {row.decided_by}. Look at it again, and decide it all the same with `force`: true."
                )
        if wanted.action == "correct":
            if body is None:
                raise Conflict("Its answer is gone: its retention ended. Submit the document again.")
            review.add_version(
                session, actor.tenant_id, row.job_id, corrected(body, wanted.answer, row.fields), actor.name
            )
        review.decide(session, row.id, BECOMES[wanted.action], actor.name)
        detail = {"task": row.task, "task_version": row.task_version}
        action = f"review.{BECOMES[wanted.action]}"
        tenants.log_act(session, actor.tenant_id, actor=actor.name, action=action, target=name, detail=detail)
    return show(context, Owner(actor.tenant_id, 0, 0), name)


def of_batch(context: Context, owner: Owner, name: str, *, after: str | None, limit: int) -> dict[str, Any]:
    """A page of a batch's results that people corrected or confirmed: what a corrected one holds now. Raises NotFound."""
    tenant_id = owner.tenant_id
    with context.database.unit_of_work(tenant_id) as session:
        batch = batches.find(session, tenant_id, ids.parse("batch", name))
        if batch is None:
            raise NotFound(f"There is no batch {name[:80]!r}.")
        last = None if after is None else jobs.find(session, tenant_id, ids.parse("job", after))
        if after is not None and last is None:
            raise NotFound(
                f"There is no job {after[:80]!r}: `after` is the last one of the page before.", param="after"
            )
        page = review.of_batch(session, batch.id, after=last.id if last is not None else 0, limit=limit + 1)
    told = [
        {
            "id": ids.public("job", row.public_id), "object": "reviewed_result", "custom_id": row.custom_id,
            "state": row.state if row.state in BECOMES.values() else "corrected", "result_version": row.version or 1,
            "body": orjson.Fragment(bytes(row.body)) if row.body is not None else None,
        }
        for row in page[:limit]
    ]  # fmt: skip
    return _page(told, has_more=len(page) > limit)


def corrected(body: bytes, answer: Any, looked_at: Mapping[str, Any]) -> bytes:
    """A response body with the answer of a person in it: no field of it is for review any more, and what was changed says so."""
    whole: dict[str, Any] = orjson.loads(body)
    before = _parsed(review.answer_in(body))
    text = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
    choice = (whole.get("choices") or [{}])[0]
    message = {"role": "assistant", **(choice.get("message") or {}), "content": text}
    fields = {
        pointer: _seen(pointer, told, before, answer, was_asked=pointer in looked_at)
        for pointer, told in (whole.get(FIELDS) or {}).items()
        if pointer == "" or _at(answer, pointer) is not _NOWHERE
    }
    choices = [{"index": 0, **choice, "message": message, "finish_reason": "stop"}]
    return orjson.dumps({**whole, "choices": choices, **({FIELDS: fields} if fields else {})})


_NOWHERE: Final = object()


def _at(answer: Any, pointer: str) -> Any:
    return answer if pointer == "" else next((one for _, one in values_at(answer, pointer)), _NOWHERE)


def _seen(pointer: str, told: Mapping[str, Any], before: Any, after: Any, *, was_asked: bool) -> dict[str, Any]:
    """What is known of a field once a person has looked: of one that was changed, nothing of where the model had found it."""
    if _at(before, pointer) != _at(after, pointer):
        return {
            **told,
            "found": None,
            "page": None,
            "box": None,
            "confidence": None,
            "review": None,
            "reviewed": "corrected",
        }
    return {**told, "review": None, "reviewed": "confirmed"} if was_asked or told.get("review") else dict(told)


def _check(task: Task, answer: Any) -> None:
    """Hold a correction to the task's schema and rules; that a value stands in the document a person knows better."""
    if task.output_schema is None:
        if not isinstance(answer, str):
            raise InvalidRequest(f"An answer to {task.name} is text: give `answer` as a string.", param="answer")
        return
    try:
        text = orjson.dumps(answer).decode()
    except orjson.JSONEncodeError:
        raise InvalidRequest(
            "`answer` holds something that is no text or number that can be kept.", param="answer"
        ) from None
    if len(text) > MOST_ANSWER_BYTES:
        raise InvalidRequest(f"`answer` is over {MOST_ANSWER_BYTES // 1024 // 1024} MiB.", param="answer")
    wrong = differences(text, checked_schema(task.output_schema, "output_schema"))
    if not wrong:
        wrong = [(one.pointer, one.message) for one in verdict.broken(text, Held(checks=task.checks))]
    if wrong:
        told = "; ".join(f"{pointer or 'the whole'}: {message}" for pointer, message in wrong[:MOST_TOLD])
        raise InvalidRequest(
            f"The answer is not as {task.name} wants it: {told}. Correct these fields.", param="answer"
        )


def _is_same(row: Row[Any], body: bytes | None, wanted: Decision) -> bool:
    """Whether a review was decided in the very same way."""
    if row.state != BECOMES[wanted.action]:
        return False
    return wanted.action != "correct" or (body is not None and _parsed(review.answer_in(body)) == wanted.answer)


def _found(session: Session, tenant_id: int, name: str, *, held: bool = False) -> Row[Any]:
    row = review.find(session, tenant_id, ids.parse("review", name), held=held)
    if row is None:
        raise NotFound(f"There is no review {name[:80]!r}.")
    return row


def _body(context: Context, stands: Row[Any] | None) -> bytes | None:
    if stands is None:
        return None
    return context.blobs.get(stands.blob_key) if stands.blob_key else stands.body and bytes(stands.body)


def _parsed(answer: str) -> Any:
    """An answer's JSON, or its text."""
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer


def _page(told: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    return {
        "object": "list", "data": told, "first_id": told[0]["id"] if told else None, "last_id": told[-1]["id"] if told else None,
        "has_more": has_more,
    }  # fmt: skip


def _whole(row: Row[Any], stands: Row[Any] | None, body: bytes | None) -> dict[str, Any]:
    """A review with the answer as it stands; null where retention has taken it."""
    answer = None if body is None else _parsed(review.answer_in(body))
    return {**_told(row), "answer": answer, "result_version": stands.version if stands is not None else None}


def _told(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": ids.public("review", row.public_id), "object": "review", "state": row.state, "task": row.task,
        "task_version": row.task_version, "job_id": ids.public("job", row.job),
        "document": {"name": row.document_name, "hash": bytes(row.document_hash).hex()},
        "fields": dict(sorted(row.fields.items())), "created_at": int(row.created_at.timestamp()),
        "decided_at": int(row.decided_at.timestamp()) if row.decided_at else None, "decided_by": row.decided_by,
    }  # fmt: skip
