"""Answers bound to schemas, with the backend that was seen to break: every success is valid, whatever the engine says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import Row, Scale, at_least, told
from benchmarks.vllm.cell import cell, chat
from orchestrator.structured import Form, problems

ROWS = 300
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"city": {"enum": ["Köln", "東京", "São Paulo"]}, "open": {"type": "boolean"}},
     "required": ["city", "open"], "additionalProperties": False},
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}}, "required": ["name"], "additionalProperties": False},
    {"type": "object", "properties": {"rows": {"type": "array", "maxItems": 3, "items": {"type": "array", "maxItems": 2,
     "items": {"type": "integer", "minimum": 0, "maximum": 99}}}}, "required": ["rows"], "additionalProperties": False},
)  # fmt: skip


def measure(path: Path, scale: Scale) -> list[Row]:
    rows = [asking(number) for number in range(scale.of(ROWS))]
    with cell(path, structured_outputs_config={"backend": "xgrammar"}) as ours:
        ours.run(rows)
        with ours.stack.connect() as connection:
            found = connection.execute(
                "SELECT j.custom_id, j.state, j.fault_code, r.body FROM jobs j LEFT JOIN results r ON r.job_id = j.id"
            ).fetchall()
    valid = wrong = failed = 0
    for custom_id, _state, fault, body in found:
        if body is None:
            failed += 1
            assert fault, custom_id
            continue
        schema = SCHEMAS[int(custom_id.removeprefix("row-")) % len(SCHEMAS)]
        content = json.loads(bytes(body))["choices"][0]["message"]["content"]
        if problems(content, Form("schema", json.dumps(schema))):
            wrong += 1
        else:
            valid += 1
    return [
        at_least("schema-bound successes that are valid", valid / max(1, valid + wrong), 1.0, "of 1", note=f"{len(rows)} rows, backend xgrammar"),
        told("rows that ended as failures with the reason", failed, "rows", note="a random model runs into max_tokens"),
    ]  # fmt: skip


def asking(number: int) -> dict[str, Any]:
    row = chat(number, most=200)
    del row["body"]["min_tokens"]
    row["body"]["temperature"] = 1
    schema = SCHEMAS[number % len(SCHEMAS)]
    row["body"]["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return row
