"""For services that hand work in through a Celery application of their own: two calls, typed.

Any Celery 5 application does, whose broker is the Redis of the service; nothing of Celery is imported here. What is sent is a
plain message, which `app.send_task("rightsize.submit", ...)` sends as well: these calls know the arguments, and keep the key out
of what Celery shows of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from orchestrator.client.call import CHAT
from orchestrator.contracts import OF_CELERY, RESULT_TASK, SUBMIT_QUEUE, SUBMIT_TASK
from orchestrator.errors import InvalidRequest

BEYOND_S: Final = 30.0
"""How much longer than the job itself the answer of `result` is waited for."""


class Sender(Protocol):
    """What is used of a Celery application."""

    conf: Any

    def send_task(self, name: str, /, **options: Any) -> Any:
        """Send a task by its name."""


def submit(
    app: Sender, key: str, body: Mapping[str, Any], *, endpoint: str = CHAT, deadline: str = "24h", task_id: str | None = None,
    queue: str = SUBMIT_QUEUE, **options: Any,
) -> str:  # fmt: skip
    """Hand in one request to be answered within `deadline`; returns the name of its job, `celery:` and the task's id.

    The same `task_id` with the same request gives the same job, however often it is sent. `options` are Celery's own, such as
    `countdown`, `expires`, `priority` or `connection`. What is wrong with the request is told by `result`, and in the list of
    refusals (`rightsize refusals`).
    """
    wanted = task_id or str(uuid.uuid4())
    kwargs = {"key": key, "body": dict(body), "endpoint": endpoint, "deadline": deadline}
    _send(app, SUBMIT_TASK, kwargs, queue, **{**options, "task_id": wanted})
    return OF_CELERY + wanted


def result(
    app: Sender, key: str, name: str, wait_s: float = 0.0, *, queue: str = SUBMIT_QUEUE
) -> dict[str, Any]:  # fmt: skip
    """A job as `GET /v1/jobs/ID` gives it, by the name that `submit` returned or by its id; waits up to `wait_s` for its end.

    The application needs a result backend: the same Redis. At most 60 s are waited; a job that takes longer comes back as it
    stands, with `ended_at` None. Raises errors of `orchestrator.errors`, for a message that was refused with the reason.
    """
    if not app.conf.result_backend:
        raise InvalidRequest(
            "This Celery application has no result backend: set result_backend to the Redis of the broker, or read the job over "
            "HTTP (`Rightsize.job`)."
        )
    kwargs = {"key": key, "id": name, "wait_s": wait_s}
    # It is answered by another service, so that waiting for it inside a task of ours holds up none of our own.
    sent = _send(app, RESULT_TASK, kwargs, queue, expires=wait_s + BEYOND_S)
    try:
        return cast("dict[str, Any]", sent.get(timeout=wait_s + BEYOND_S, disable_sync_subtasks=False))
    finally:
        sent.forget()


def _send(app: Sender, task: str, kwargs: Mapping[str, Any], queue: str, **options: Any) -> Any:
    shown = {"argsrepr": "()", "kwargsrepr": "{...}"}
    return app.send_task(task, kwargs=dict(kwargs), queue=queue, serializer="json", **shown, **options)
