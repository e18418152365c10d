"""Answers bound to schemas, with the backend that was seen to break: every success is valid, whatever the engine says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Row, Scale, at_least, told
from benchmarks.vllm.cell import cell, chat
from orchestrator.structured import Form, problems

ROWS: Final = 300
BACKEND: Final = "xgrammar"
"""VLLM's choice where none is named: it lets raw control characters into strings that have a `maxLength`."""
MOST: Final = 400


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "enums of unicode": _object(city={"enum": ["Köln", "東京", "São Paulo", "مراكش", "🚚"]}, open={"type": "boolean"}),
    "short strings": _object(name={"type": "string", "maxLength": 40}, note={"type": "string", "minLength": 5, "maxLength": 60}),
    "a long string": _object(summary={"type": "string", "minLength": 150, "maxLength": 300}),
    "unicode keys": _object(größe={"type": "string", "maxLength": 20}, 名前={"type": "string", "maxLength": 20}),
    "nested arrays": _object(rows={"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "array", "maxItems": 2,
                             "items": _object(sku={"type": "string", "maxLength": 12}, size={"enum": ["S", "M", "L"]})}}),
    "numbers": _object(rows={"type": "array", "maxItems": 3, "items": {"type": "array", "maxItems": 2, "items":
                       {"type": "integer", "minimum": 0, "maximum": 99}}}, share={"type": ["number", "null"]}),
}  # fmt: skip
KINDS: Final = list(SCHEMAS)
ENDED: Final = """
    SELECT j.custom_id, j.fault_code, r.body FROM jobs j LEFT JOIN results r ON r.job_id = j.id
"""


def measure(path: Path, scale: Scale) -> list[Row]:
    rows = [asking(number) for number in range(scale.of(ROWS))]
    with cell(path, structured_outputs_config={"backend": BACKEND}) as ours:
        ours.run(rows)
        with ours.stack.connect() as connection:
            found = connection.execute(ENDED).fetchall()
        report = ours.end_worker()
    valid: Counter[str] = Counter()
    wrong: list[str] = []
    reasons: Counter[str] = Counter()
    for custom_id, fault, body in found:
        kind = KINDS[int(custom_id.removeprefix("row-")) % len(KINDS)]
        if body is None:
            assert fault, f"{custom_id} has neither an answer nor a reason"
            reasons[f"{fault}, {kind}"] += 1
            continue
        content = json.loads(bytes(body))["choices"][0]["message"]["content"]
        if problems(content, Form("schema", json.dumps(SCHEMAS[kind]))) or not _parses(content):
            wrong.append(custom_id)
        else:
            valid[kind] += 1
    again = report["requests"] - 1 - len(rows)  # one request warms the engine
    succeeded = valid.total() + len(wrong)
    kinds = "; ".join(f"{kind} {valid[kind]}" for kind in KINDS)
    return [
        at_least("schema-bound successes that are valid", valid.total() / max(1, succeeded), 1.0, "of 1",
                 note=f"{succeeded} successes of {len(rows)} rows, backend {BACKEND}, temperature 1: {kinds}"),
        told("wrong answers of the engine that were asked for once more", again, "rows", note="what the backend alone would have handed out as done"),
        told("rows that ended as failures with the reason", reasons.total(), "rows",
             note="a random model writes on until max_tokens: " + "; ".join(f"{why} {count}" for why, count in reasons.most_common())),
    ]  # fmt: skip


def _parses(content: str) -> bool:
    """By the strict reading of JSON: no raw control characters, no NaN."""
    try:
        json.loads(content, parse_constant=lambda name: json.loads(f"not {name}"))
    except ValueError:
        return False
    return True


def asking(number: int) -> dict[str, Any]:
    row = chat(number, most=MOST)
    del row["body"]["min_tokens"]
    row["body"]["temperature"] = 1
    schema = SCHEMAS[KINDS[number % len(KINDS)]]
    row["body"]["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return row
