"""A dispatch's message as Celery writes it into Redis, written and read without Celery: both ends of it are on every request's path.

Any Celery 5 worker takes what is written here, and what any Celery 5 producer writes is read.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import orjson

from orchestrator import ids
from orchestrator.contracts import EXECUTE_TASK, REPLIES

MOST_BYTES: Final = 16_384
"""Of a message that is read; one of ours has about 900."""
MOST_ID: Final = 2**63 - 1
MOST_NAME: Final = 100
"""Characters of a stream's name; what other producers write there is no stream of ours."""
_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True, slots=True)
class Message:
    """What a message says."""

    dispatch_id: int
    reply_to: str
    """The Redis stream for the answer; empty for that of the job."""


def sealed(queue: str, dispatch_id: int, reply_to: str = "") -> bytes:
    """The message that asks a worker on `queue` to run a dispatch, and to answer on `reply_to`."""
    task_id = str(ids.uuid7())
    body = base64.b64encode(orjson.dumps([[], {"dispatch_id": dispatch_id}, _EMBED])).decode()
    headers: dict[str, Any] = {
        "lang": "py", "task": EXECUTE_TASK, "id": task_id, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task_id, "parent_id": None, "argsrepr": "()",
        "kwargsrepr": f"{{'dispatch_id': {dispatch_id}}}", "origin": "rightsize", "ignore_result": True,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    properties = {
        "correlation_id": task_id, "reply_to": reply_to, "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": str(ids.uuid7()),
    }  # fmt: skip
    return orjson.dumps(
        {
            "body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers,
            "properties": properties,
        }
    )  # fmt: skip


def opened(raw: bytes) -> Message | None:
    """What a message asks for; None for any that does not ask to run a dispatch."""
    try:
        outer: Any = orjson.loads(raw) if len(raw) <= MOST_BYTES else None
        if outer["headers"]["task"] != EXECUTE_TASK or outer["content-type"] != "application/json":
            return None
        body = outer["body"]
        if outer["properties"]["body_encoding"] == "base64":
            body = base64.b64decode(body, validate=True)
        args, kwargs, _ = orjson.loads(body)
        dispatch_id = kwargs["dispatch_id"] if kwargs else args[0]
        reply_to = outer["properties"].get("reply_to")
    except (ValueError, KeyError, TypeError, IndexError, binascii.Error):
        return None
    if type(dispatch_id) is not int or not 0 < dispatch_id <= MOST_ID:
        return None
    ours = isinstance(reply_to, str) and reply_to.startswith(REPLIES) and len(reply_to) <= MOST_NAME
    return Message(dispatch_id, reply_to if ours else "")
