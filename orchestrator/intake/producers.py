"""Celery's side of the intake: the queue is declared where producers look for it, and they get the results that they wait for."""

from __future__ import annotations

import re
from typing import Any, Final

import redis
from celery import Celery, states
from kombu.exceptions import OperationalError

from orchestrator import errors
from orchestrator.broker import SOCKET_TIMEOUT_S, make_celery
from orchestrator.contracts import SUBMIT_QUEUE
from orchestrator.errors import Broken, Busy, RightsizeError
from orchestrator.settings import Settings
from orchestrator.tls import celery_options

RESULT_KEPT_S: Final = 3_600
MOST_MESSAGE_CHARS: Final = 2_000
AWAY: Final = (redis.RedisError, OperationalError, OSError)
"""What is raised where Redis does not answer."""
_KEY: Final = re.compile(r"rs_[A-Za-z0-9_-]{43}")
_KEY_BYTES: Final = re.compile(_KEY.pattern.encode())
# Of those that have a maker of their own: others want more than a text, which is all that a result carries of them.
_OF_A_TEXT: Final = (RightsizeError, Busy)


class Untold(Exception):
    """A result that Celery's backend does not take."""


class Producers:
    """Whoever sent messages, and waits. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = make_celery(settings)
        self._app.conf.update(
            result_backend=settings.require_redis(),
            redis_backend_use_ssl=celery_options(settings),
            redis_socket_timeout=SOCKET_TIMEOUT_S,
            redis_socket_connect_timeout=SOCKET_TIMEOUT_S,
            result_backend_transport_options={"retry_policy": {"max_retries": 1}},
            result_backend_thread_safe=True,
            result_expires=RESULT_KEPT_S,
        )

    def declare(self) -> None:
        """Bind the queue: a producer's message to one that is not bound is dropped by kombu, for instance after a FLUSHALL."""
        with self._app.connection_for_write() as connection:
            # Made as Celery makes it for a producer that only names it.
            self._app.amqp.Queues({}, create_missing=True)[SUBMIT_QUEUE](connection.default_channel).declare()

    def tell(self, task_id: str, result: Any, error: RightsizeError | None) -> None:
        """Store what a task came to, for `.get()`; it is kept for an hour.

        Of an error `.get()` raises one of the same name, whose message is the code and what to do. Raises Untold where it
        cannot be stored, and one of AWAY where Redis does not answer.
        """
        value, state = (result, states.SUCCESS) if error is None else (told(error), states.FAILURE)
        try:
            self._app.backend.store_result(task_id, value, state)
        except AWAY as fault:
            if type(fault) is redis.ResponseError:  # Redis did answer: somebody else's value stands there
                raise Untold from fault
            raise
        except Exception as fault:
            raise Untold from fault

    def close(self) -> None:
        """Close every connection."""
        self._app.close()


def told(error: RightsizeError) -> RightsizeError:
    """An error as a producer sees it: of the nearest class of `orchestrator.errors` that a text alone can make again."""
    kind = next(
        one
        for one in type(error).__mro__
        if one.__module__ == errors.__name__ and (one in _OF_A_TEXT or "__init__" not in vars(one))
    )
    made: RightsizeError = (Broken if kind is RightsizeError else kind)(f"{error.code}: {without_keys(error.message)}")
    return made


def without_keys(text: str) -> str:
    """A text in which no API key stands any more, wherever its writer put one."""
    cut = _KEY.sub("rs_...", text)[:MOST_MESSAGE_CHARS].replace("\0", "")
    return cut.encode("utf-8", "replace").decode()


def bytes_without_keys(raw: bytes) -> bytes:
    """The same for JSON."""
    return _KEY_BYTES.sub(b"rs_...", raw)
