"""What one message comes to: a job, a result, a refusal with its reason, or another try later."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from orchestrator import ids
from orchestrator.contracts import OF_CELERY, RESULT_TASK, SUBMIT_TASK, JobState, Owner
from orchestrator.errors import (
    Broken,
    Busy,
    IdempotencyConflict,
    InvalidRequest,
    Refused,
    RightsizeError,
    ServiceUnavailable,
)
from orchestrator.flow import quotas
from orchestrator.flow.authenticate import Scope, allowed, checked_form, find, hash_of
from orchestrator.flow.context import Context
from orchestrator.flow.show import FIRST_LOOK_S, MOST_LOOK_S, MOST_WAIT_S, NotHere, show_job
from orchestrator.flow.submit import known_job, submit_job
from orchestrator.hints import window_seconds
from orchestrator.incoming import checked
from orchestrator.intake.messages import Envelope, envelope, task_id_of
from orchestrator.intake.producers import bytes_without_keys, without_keys
from orchestrator.store import refusals
from orchestrator.store.refusals import NewRefusal
from orchestrator.telemetry import log_fault

SUBMITTING: Final = 8
"""Submissions at once: those of one project wait for one another in the database, so that more would not be faster."""
READING: Final = 8
CONNECTIONS: Final = 2 * SUBMITTING + READING
"""To the database. A submission may need a second one for what it looks up meanwhile: it must never wait for another's."""
MOST_PUT_OFF_S: Final = 300.0
MOST_DOUBLED: Final = 6


class Exact(BaseModel):
    """Refuses arguments that it does not know, and takes no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Submission(Exact):
    """The arguments of `rightsize.submit`: those of `POST /v1/jobs`, and the key."""

    key: SecretStr
    endpoint: str = Field(default="/v1/chat/completions", max_length=128)
    body: dict[str, Any]
    deadline: str = Field(default="24h", max_length=16)


class Question(Exact):
    """The arguments of `rightsize.result`."""

    key: SecretStr
    id: str = Field(max_length=256)
    """A job's id, or `celery:` and the id of the task that handed it in."""
    wait_s: float = Field(default=0.0, ge=0, le=MOST_WAIT_S)


class Left(Exception):
    """This intake stops before the work is done: another one does it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message came to: a result or an error to be told, or bytes to be put off by some seconds."""

    task_id: str = ""
    """Empty where there is nobody to tell."""
    result: Any = None
    error: RightsizeError | None = None
    later: tuple[bytes, float] | None = None


@dataclass(slots=True)
class Asked:
    """What is known of a message while it is worked on."""

    task_id: str = ""
    task: str = ""
    expires: datetime | None = None
    wants_result: bool = True
    kwargs: Mapping[str, Any] | None = None
    tenant_id: int | None = None
    waited_s: float = 0.0
    within_s: float = 0.0

    def outcome(self, result: Any = None, error: RightsizeError | None = None) -> Outcome:
        """What is told to whoever waits."""
        return Outcome(self.task_id if self.wants_result else "", result, error)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where messages are worked on. Threads share it."""

    context: Context
    stop: threading.Event
    waiting: threading.Semaphore
    """Room for tasks that wait for the end of a job."""
    submitting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(SUBMITTING))
    reading: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(READING))

    def work_on(self, raw: bytes) -> Outcome:
        """Do what a message asks; raises ServiceUnavailable where a server is away, and Left where this intake stops."""
        asked = Asked()
        try:
            return self._work_on(raw, asked)
        except (ServiceUnavailable, Left):
            raise
        except Refused as error:
            asked.task_id = asked.task_id or task_id_of(raw)
            return self._refuse(asked, error)
        except Exception as error:
            fault = f"fault_{ids.uuid7().hex}"
            log_fault("request_failed", error, id=fault)
            return self._refuse(asked, Broken(f"Rightsize met a fault of its own. Report {fault}."))

    def _work_on(self, raw: bytes, asked: Asked) -> Outcome:
        message = envelope(raw)
        if message.eta is not None and (ahead_s := (message.eta - datetime.now(UTC)).total_seconds()) > 0:
            return Outcome(later=(raw, ahead_s))
        asked.task_id, asked.task, asked.wants_result = message.task_id, message.task, message.wants_result
        asked.expires = message.expires
        asked.waited_s = max(0.0, time.time() - message.since) if message.since is not None else 0.0
        try:
            return asked.outcome(self._answer(message, asked))
        except ServiceUnavailable:
            raise
        except Busy as error:
            return self._wait_for_room(message, asked, error)

    def _answer(self, message: Envelope, asked: Asked) -> Any:
        if message.task not in STEPS:
            raise InvalidRequest(f"There is no task {message.task!r} here. Send {' or '.join(STEPS)}.")
        settings = self.context.settings
        asked.kwargs = message.arguments(settings.max_request_bytes, settings.max_json_depth)
        return STEPS[message.task](self, asked)

    def _refuse(self, asked: Asked, error: RightsizeError) -> Outcome:
        """Put work that is refused on the list, with its reason; a question is only answered."""
        if asked.task != RESULT_TASK:
            new = NewRefusal(
                asked.tenant_id, asked.task_id, error.code, without_keys(error.message), _request_of(asked.kwargs)
            )
            with self.context.house.unit_of_work() as session:
                refusals.add(session, new)
        return asked.outcome(error=error)

    def _wait_for_room(self, message: Envelope, asked: Asked, error: Busy) -> Outcome:
        """Put work off for which there is no room now; once it has waited for as long as its deadline it is refused."""
        if asked.waited_s >= asked.within_s:
            return self._refuse(asked, error)
        grown_s = max(1.0, error.retry_after_s) * 2.0 ** min(message.tries, MOST_DOUBLED)
        jitter = 1.0 + random.random() / 4  # noqa: S311 - jitter, not a secret
        left_s = asked.within_s - asked.waited_s
        held = message.held(time.time() - asked.waited_s)
        return Outcome(later=(held, min(MOST_PUT_OFF_S * jitter, grown_s * jitter, left_s)))

    def owner(self, asked: Asked, scope: Scope) -> Owner:
        """Whose the key of a message is; raises Unauthorized or Forbidden."""
        key = (asked.kwargs or {}).get("key")
        if not isinstance(key, str):
            raise InvalidRequest(
                "`key` is missing: give an API key (`rightsize keys create --name NAME`).", param="key"
            )
        identity = find(self.context, hash_of(checked_form(key)))
        if identity is not None:
            asked.tenant_id = identity.owner.tenant_id
        return allowed(identity, scope).owner


def _check_in_time(asked: Asked) -> None:
    """Raise InvalidRequest for a message that comes too late."""
    if asked.expires is not None and asked.expires <= datetime.now(UTC):
        raise InvalidRequest(
            "The message's `expires` has passed before it was worked on. Send it again, with more time."
        )


def submit(desk: Desk, asked: Asked) -> dict[str, Any]:
    """Accept a job; the same task id with the same request gives the same one, also where it would be refused by now."""
    owner = desk.owner(asked, "submit")
    wanted = checked(Submission, asked.kwargs or {})
    asked.within_s = window_seconds(wanted.deadline, "deadline")
    with desk.submitting:
        public_id = _submitted(desk.context, owner, wanted, asked)
    return {"id": ids.public("job", public_id), "state": JobState.QUEUED.label}


def _submitted(context: Context, owner: Owner, wanted: Submission, asked: Asked) -> UUID:
    within_s, key = max(1.0, asked.within_s - asked.waited_s), OF_CELERY + asked.task_id
    try:
        _check_in_time(asked)
        quotas.take(context, owner, quotas.tokens_of(wanted.body))
        return submit_job(
            context, owner, wanted.endpoint, wanted.body, interactive=False, within_s=within_s, idempotency_key=key
        ).public_id
    except IdempotencyConflict:
        raise IdempotencyConflict(
            "This task id came with another request before. Send a new request under a new id."
        ) from None
    except Refused:
        known = known_job(context, owner, wanted.endpoint, wanted.body, key)
        if known is None:
            raise
        return known


def result(desk: Desk, asked: Asked) -> Any:
    """A job as `GET /v1/jobs/{id}` gives it, once it has ended or the time is up; at once where too many wait already."""
    owner = desk.owner(asked, "read")
    _check_in_time(asked)
    wanted = checked(Question, asked.kwargs or {})
    waits = wanted.wait_s > 0 and desk.waiting.acquire(blocking=False)
    try:
        found = _awaited(desk, owner, wanted.id, wanted.wait_s if waits else 0.0)
    finally:
        if waits:
            desk.waiting.release()
    # Stored JSON stands in it as it is, which Celery cannot write.
    return orjson.loads(orjson.dumps(found))


def _awaited(desk: Desk, owner: Owner, name: str, within_s: float) -> dict[str, Any]:
    """A job once it has ended, or as it stands when the time is up; its message may not have been taken yet."""
    until, pause_s = time.monotonic() + within_s, FIRST_LOOK_S
    while True:
        left_s = until - time.monotonic()
        try:
            with desk.reading:
                found = show_job(desk.context, owner, name)
            if found["ended_at"] is not None or left_s <= 0:
                return found
        except NotHere as error:
            if error.refused or left_s <= 0:
                raise
        if desk.stop.wait(min(left_s, pause_s)):
            raise Left
        pause_s = min(MOST_LOOK_S, 1.5 * pause_s)


def _request_of(kwargs: Mapping[str, Any] | None) -> bytes | None:
    """What was asked, without the key."""
    if kwargs is None:
        return None
    return bytes_without_keys(orjson.dumps({name: value for name, value in kwargs.items() if name != "key"}))


STEPS: Final[Mapping[str, Callable[[Desk, Asked], Any]]] = {SUBMIT_TASK: submit, RESULT_TASK: result}
