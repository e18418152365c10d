"""Redis as Rightsize uses it: Celery messages, wake-ups and answers. All of them hints; Postgres is the truth."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.contracts import CUT_CHANNEL, WAKE_KEY, answer_stream
from orchestrator.envelope import sealed
from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.patience import retrying
from orchestrator.settings import Settings
from orchestrator.tls import celery_options, client_options, untrusted

SOCKET_TIMEOUT_S: Final = 5.0
"""A peer that accepts and never answers must not block us for ever."""
HINT_WITHIN_S: Final = 1.0
HINT_PAUSE_S: Final = 10.0
"""How long no hint is sent to a server that hung."""
ANSWER_KEPT_S: Final = 60
REPLY_TO: Final = "rightsize.reply_to."
"""Begins the name of the key that says where the caller of a job waits, for an attempt after the first."""
REPLY_TO_KEPT_S: Final = 3_600
MOST_REPLIES: Final = 2_048
"""Answers that wait for one API process; older ones are dropped, and their callers read the row."""
MOST_REPLY_BYTES: Final = 64 * 1024
"""A larger answer is not sent on the stream of a process: its caller reads the row."""
WAKE_MOST: Final = 1_000
EVERY_MODEL: Final = "*"


def make_celery(settings: Settings) -> Celery:
    """The Celery application: JSON only, early acknowledgement, no results, no events, thread pool.

    Every setting answers a trap that was seen with Celery on Redis; `docs/decisions/0004-early-ack.md` tells them.
    """
    app = Celery("rightsize", broker=settings.require_redis())
    app.conf.update(
        broker_use_ssl=celery_options(settings),
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        task_publish_retry=False,
        task_send_sent_event=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
            "visibility_timeout": 3600,
            "max_connections": 100,
        },
    )
    return app


class Broker:
    """Sends dispatches, wakes the dispatcher, carries answers. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.celery = make_celery(settings)
        tls = client_options(settings)
        self.redis: redis.Redis = redis.Redis.from_url(
            plain_url(settings.require_redis()),
            **tls,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            decode_responses=False,
        )
        self._hints: redis.Redis = redis.Redis.from_url(
            plain_url(settings.require_redis()),
            **tls,
            socket_timeout=HINT_WITHIN_S,
            socket_connect_timeout=HINT_WITHIN_S,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            decode_responses=False,
        )
        self._no_hints_before = float("-inf")

    def publish(self, queue: str, dispatch_id: int) -> None:
        """Send one dispatch's message; raises ServiceUnavailable when Redis does not answer."""
        self.publish_all([(queue, dispatch_id, "")])

    def publish_all(self, dispatches: Sequence[tuple[str, int, str]]) -> None:
        """Send messages, each for a queue, of a dispatch, with the stream for its answer, in one round trip.

        Raises ServiceUnavailable as `publish` does.
        """
        try:
            pipe: Any = self.redis.pipeline(transaction=False)
            for queue, dispatch_id, reply_to in dispatches:
                pipe.lpush(queue, sealed(queue, dispatch_id, reply_to))
            pipe.execute()
        except (redis.RedisError, OSError) as error:
            raise _unavailable(error) from error

    def publish_later_if_down(self, dispatches: Sequence[tuple[str, int, str]]) -> None:
        """Send messages if Redis answers; otherwise the recovery pass sends them once their `claim_by` has passed."""
        with contextlib.suppress(ServiceUnavailable):
            self.publish_all(dispatches)

    def take(self, queues: Sequence[str], most: int, timeout_s: float) -> tuple[str, list[bytes]]:
        """Take up to `most` messages, the oldest first, from the first of the queues that has any; none after `timeout_s`.

        Raises ServiceUnavailable when Redis does not answer: what it gave away in that moment is sent again.
        """
        try:
            first: Any = self.redis.brpop(list(queues), timeout=timeout_s)
        except (redis.RedisError, OSError) as error:
            raise _unavailable(error) from error
        if first is None:
            return "", []
        rest: Any = []
        with contextlib.suppress(redis.RedisError, OSError):
            rest = self.redis.rpop(first[0], most - 1) if most > 1 else []
        return first[0].decode("utf-8", "replace"), [first[1], *(rest or [])]

    def put_back(self, queue: str, messages: Sequence[bytes]) -> None:
        """Put messages back in front of their queue. Where Redis does not answer they are sent again later."""
        with contextlib.suppress(redis.RedisError, OSError):
            self.redis.rpush(queue, *reversed(messages))

    def wake(self, model: str = EVERY_MODEL) -> None:
        """Wake the dispatcher for a model. A wake-up that is lost costs one poll interval, so a failure is not raised."""
        self._hint(("LPUSH", WAKE_KEY, model), ("LTRIM", WAKE_KEY, 0, WAKE_MOST))

    def wait_for_wake(self, timeout_s: float) -> set[str]:
        """The models for which something happened; empty after `timeout_s` without any.

        Raises ServiceUnavailable when Redis does not answer.
        """
        try:
            first: Any = self.redis.blpop([WAKE_KEY], timeout=timeout_s)
            if first is None:
                return set()
            rest: Any = self.redis.lpop(WAKE_KEY, WAKE_MOST) or []
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return {item.decode("utf-8", "replace") for item in (first[1], *rest)}

    def cut(self, job_public_id: str) -> None:
        """Say that nobody waits for a job any more: whoever runs it stops at once. One that is lost costs time."""
        self._hint(("PUBLISH", CUT_CHANNEL, job_public_id))

    def keep_replies(self, replies: Mapping[str, str]) -> None:
        """Keep where callers wait for answers that another attempt brings: by public id of the job, the stream they read."""
        self._hint(*(("SET", f"{REPLY_TO}{job}", stream, "EX", REPLY_TO_KEPT_S) for job, stream in replies.items()))

    def kept_replies(self, jobs: Sequence[str]) -> dict[str, str]:
        """Those of some jobs' callers that are known; none where Redis does not answer: a caller looks at its row as well."""
        try:
            found: Any = self._hints.mget([f"{REPLY_TO}{job}" for job in jobs])
        except (redis.RedisError, OSError):
            return {}
        return {job: one.decode("utf-8", "replace") for job, one in zip(jobs, found, strict=True) if one}

    def send_answers(self, answers: Sequence[tuple[str, str, Mapping[str, bytes]]]) -> None:
        """Put answers, each with its job's public id and the stream its caller reads, on their way; whoever misses one reads the row."""
        commands: list[tuple[str | bytes | int, ...]] = []
        for job_public_id, reply_to, fields in answers:
            told = {**fields, "end": b"1"}
            if reply_to:
                told["job"] = job_public_id.encode()
                if len(told.get("body", b"")) > MOST_REPLY_BYTES:
                    told["body"] = b""
            stream, most = (reply_to, MOST_REPLIES) if reply_to else (answer_stream(job_public_id), 10_000)
            commands.append(("XADD", stream, "MAXLEN", most, "*", *(part for field in told.items() for part in field)))
        streams = dict.fromkeys(reply_to or answer_stream(job) for job, reply_to, _ in answers)
        self._hint(*commands, *(("EXPIRE", stream, ANSWER_KEPT_S) for stream in streams))

    def _hint(self, *commands: tuple[str | bytes | int, ...]) -> None:
        """Send what may be lost. A server that hangs is left alone for a while: who sends hints has records to write."""
        if time.monotonic() < self._no_hints_before:
            return
        try:
            pipe: Any = self._hints.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            pipe.execute()
        except redis.TimeoutError:
            self._no_hints_before = time.monotonic() + HINT_PAUSE_S
        except redis.RedisError:
            return

    def check(self) -> str:
        """The server's version; raises ServiceUnavailable or InvalidConfig when it cannot serve as a broker."""
        policy: Any = {}
        try:
            info: Any = self.redis.info("server")
            # A hosted Redis may forbid CONFIG; what it evicts is then its operator's word.
            with contextlib.suppress(redis.ResponseError):
                policy = self.redis.config_get("maxmemory-policy")
        except redis.AuthenticationError as error:
            raise InvalidConfig("Redis refuses the password. Check RIGHTSIZE_REDIS_URL.") from error
        except redis.RedisError as error:
            if why := untrusted(error):
                raise InvalidConfig(
                    f"Redis shows a certificate that is not trusted: {why}. Give RIGHTSIZE_REDIS_CA_FILE the file of the "
                    "authority that signed it, and RIGHTSIZE_REDIS_URL the name that stands in it."
                ) from error
            raise _unavailable(error) from error
        evicts = policy.get("maxmemory-policy", "noeviction")
        if evicts != "noeviction":
            raise InvalidConfig(
                f"Redis evicts keys when it is full (maxmemory-policy {evicts}): queued messages would vanish. "
                "Set maxmemory-policy noeviction."
            )
        return str(info.get("valkey_version") or info.get("redis_version", "unknown"))

    def wait_until_up(self, within_s: float) -> None:
        """Wait with backoff for a server that is down at start; raises ServiceUnavailable after `within_s`."""
        retrying(self.check, within_s)

    def close(self) -> None:
        """Close every connection."""
        self.redis.close()
        self._hints.close()
        self.celery.close()


def plain_url(url: str) -> str:
    """A Celery broker URL as redis-py writes it: `redis+socket:///path?virtual_host=0` becomes `unix:///path?db=0`."""
    parts = urlsplit(url)
    if parts.scheme != "redis+socket":
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise InvalidConfig("RIGHTSIZE_REDIS_URL must begin with redis://, rediss:// or redis+socket://.")
        return url
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{unquote(parts.path)}?db={database}"


def _unavailable(error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Redis does not answer ({type(error).__name__}). Check RIGHTSIZE_REDIS_URL and the server, then try again.",
        retry_after_s=2.0,
    )
