"""What schemathesis is told of the API beyond its document: loaded into its process, not into the tests'."""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis

SPARED = frozenset(os.environ.get("FUZZ_SPARED", "").split(","))
"""Ids and names of the keys and projects that the run goes on with."""
FREE = os.environ.get("FUZZ_PROJECT", "")
"""A project to which anything may be done."""
FILE, BATCH = os.environ.get("FUZZ_FILE", ""), os.environ.get("FUZZ_BATCH", "")
"""A file with rows and a batch of it, so that what is made up meets something that is there."""
OF_LIMITS = ("PUT /v1/budgets", "PUT /v1/quotas")
OF_FILES = ("POST /v1/batches", "POST /v1/batches/estimate")
ROW = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Where is my order?"}]}


def rows(count: int) -> bytes:
    """A file for a batch."""
    lines = [{**ROW, "custom_id": str(number), "body": BODY} for number in range(count)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """Leave out what would bind the run's own hands, and what is right but for a NUL: no text may hold one."""
    label, body = case.operation.label, case.body if isinstance(case.body, dict) else {}
    if "/v1/keys/" in label and str((case.path_parameters or {}).get("key")) in SPARED:
        return False
    if label in OF_LIMITS and (body.get("scope") == "tenant" or str(body.get("named")) in SPARED):
        return False
    if body.get("disabled"):
        return False
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
    return is_wrong or "\\u0000" not in json.dumps([body, case.query or {}], default=str)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Let a file for a batch hold rows, and every second request be about what is there."""
    if not isinstance(body, dict):
        return body
    if context.operation.label == "POST /v1/files" and body.get("purpose") == "batch":
        return {**body, "file": rows(3)}
    if context.operation.label in OF_FILES and _could_be(body.get("input_file_id")) and _every_second(body):
        return {**body, "input_file_id": FILE}
    of_one = body.get("scope") in ("project", "key") and body.get("named")
    if context.operation.label in OF_LIMITS and of_one and _every_second(body):
        return {**body, "scope": "project", "named": FREE}
    return body


@schemathesis.hook
def map_path_parameters(_: Any, given: Any) -> Any:
    """Let every second batch be one that is there."""
    if isinstance(given, dict) and str(given.get("batch_id")).startswith("batch_") and _every_second(given):
        return {**given, "batch_id": BATCH}
    return given


def _could_be(file_id: Any) -> bool:
    """What is wrong stays wrong."""
    return isinstance(file_id, str) and len(file_id) <= 128


def _every_second(value: Any) -> bool:
    return bool(FILE and BATCH) and sum(json.dumps(value, default=str).encode()) % 2 == 0
