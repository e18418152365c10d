"""A dispatch's message as Celery writes it into Redis, written and read without Celery: both ends of it are on every request's path.

Any Celery 5 worker takes what is written here, and what any Celery 5 producer writes is read.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import orjson

from orchestrator import ids
from orchestrator.contracts import EXECUTE_TASK

MOST_BYTES: Final = 16_384
"""Of a message that is read; one of ours has about 900."""
MOST_ID: Final = 2**63 - 1
_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def sealed(queue: str, dispatch_id: int) -> bytes:
    """The message that asks a worker on `queue` to run a dispatch."""
    task_id = str(ids.uuid7())
    body = base64.b64encode(orjson.dumps([[], {"dispatch_id": dispatch_id}, _EMBED])).decode()
    headers: dict[str, Any] = {
        "lang": "py", "task": EXECUTE_TASK, "id": task_id, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task_id, "parent_id": None, "argsrepr": "()",
        "kwargsrepr": f"{{'dispatch_id': {dispatch_id}}}", "origin": "rightsize", "ignore_result": True,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    properties = {
        "correlation_id": task_id, "reply_to": "", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": str(ids.uuid7()),
    }  # fmt: skip
    return orjson.dumps(
        {
            "body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers,
            "properties": properties,
        }
    )  # fmt: skip


def opened(raw: bytes) -> int | None:
    """The dispatch that a message asks to run; None for any message that does not ask for one."""
    try:
        outer: Any = orjson.loads(raw) if len(raw) <= MOST_BYTES else None
        if outer["headers"]["task"] != EXECUTE_TASK or outer["content-type"] != "application/json":
            return None
        body = outer["body"]
        if outer["properties"]["body_encoding"] == "base64":
            body = base64.b64decode(body, validate=True)
        args, kwargs, _ = orjson.loads(body)
        dispatch_id = kwargs["dispatch_id"] if kwargs else args[0]
    except (ValueError, KeyError, TypeError, IndexError, binascii.Error):
        return None
    return dispatch_id if type(dispatch_id) is int and 0 < dispatch_id <= MOST_ID else None
