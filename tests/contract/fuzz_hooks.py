"""What schemathesis is told of the API beyond its document: loaded into its process, not into the tests'."""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis

SPARED = frozenset(os.environ.get("FUZZ_SPARED_KEYS", "").split(","))
"""Ids and names of the keys that the run goes on with."""
ROW = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Where is my order?"}]}


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """Leave out what would take the run's own keys away, and what is right but for a NUL: no text may hold one."""
    if (case.path_parameters or {}).get("key") in SPARED:
        return False
    body = case.body if isinstance(case.body, dict) else {}
    if body.get("disabled"):
        return False
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
    return is_wrong or "\\u0000" not in json.dumps([body, case.query or {}], default=str)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Let a file for a batch hold rows, so that the operations behind it have something to work on."""
    if context.operation.label == "POST /v1/files" and isinstance(body, dict) and body.get("purpose") == "batch":
        rows = [{**ROW, "custom_id": str(number), "body": BODY} for number in range(3)]
        return {**body, "file": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    return body
