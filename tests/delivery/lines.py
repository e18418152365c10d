"""Result lines made by hand, as tests of delivery need them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "total": {"type": "number"},
        "currency": {"enum": ["EUR", "USD", "CHF"]},
        "paid": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "vendor": {"$ref": "#/$defs/Vendor"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
    },
    "$defs": {
        "Vendor": {"type": "object", "properties": {"name": {"type": "string"}, "city": {"type": ["string", "null"]}}},
        "Row": {"type": "object", "properties": {"text": {"type": "string"}, "amount": {"type": "number"}}},
    },
}


def line(name: str = "inv/1.pdf", answer: Any = None, **ours: Any) -> dict[str, Any]:
    """A line of a document that was answered: by JSON, or by a text where `answer` is one."""
    content = answer if isinstance(answer, str) else json.dumps({} if answer is None else answer, ensure_ascii=False)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    told = {
        "name": name,
        "hash": "ab" * 32,
        "kind": "pdf",
        "bytes": 2_000,
        "pages": 2,
        "chars": 4_000,
        "sources": {"text": 2},
    }
    return {
        "id": "batch_req_1",
        "custom_id": name[:500],
        "response": {"status_code": 200, "request_id": "req_1", "body": {"choices": [choice]}},
        "error": None,
        "rightsize": {
            "tier": "llm", "model": "llama-70b", "rule": "default", "reasons": ["varied work"], "attempts": 1, "cost_usd": "0.0125",
            "simulated": False, "engine_s": 2.5, "document": told, **ours,
        },
    }  # fmt: skip


def failed(
    name: str = "inv/1.pdf", code: str = "unreadable_file", message: str = "It is broken. Save it anew.", **ours: Any
) -> dict[str, Any]:
    """A line of a document that has no answer."""
    made = line(name, **{"tier": "", "model": "", "cost_usd": "0", "engine_s": None, **ours})
    return {**made, "response": None, "error": {"code": code, "message": message}}


def invoices(many: int, *, simulated: bool = False) -> Iterator[dict[str, Any]]:
    """Invoices of all kinds and sizes, answered by several tiers, some failed, some reused; the same ones each time."""
    dice = random.Random(7)
    for number in range(many):
        name = f"2026/{number % 12 + 1:02d}/{dice.choice(['Müller', 'Acme', 'Nordwind', 'Brix & Co'])}-{number:05d}.pdf"
        pages = max(1, round(dice.lognormvariate(0.7, 0.8)))
        told = {
            "name": name, "hash": f"{number:064x}", "kind": dice.choices(["pdf", "docx", "png"], [80, 12, 8])[0], "bytes": 1,
            "pages": pages, "chars": round(pages * dice.lognormvariate(7.4, 0.6)),
            "sources": dice.choices([{"text": pages}, {"ocr": pages}, {"none": pages}], [70, 24, 6])[0],
        }  # fmt: skip
        if dice.random() < 0.04:
            yield _failed(dice, name, told)
            continue
        yield _answered(dice, name, told, simulated=simulated)


def _failed(dice: random.Random, name: str, told: dict[str, Any]) -> dict[str, Any]:
    causes = [
        ("password_required", "The PDF is protected by a password. Save it without, or give the password."),
        ("unreadable_file", f"The PDF is broken at byte {dice.randrange(90_000):,}. Save it anew."),
        ("too_many_pages", f"The document has {dice.randrange(2_001, 9_000):,} pages, at most 2,000. Split it."),
        ("wrong_form", "The model's answer has not the form that was asked for: /date: it is no date"),
    ]
    code, message = dice.choices(causes, [5, 3, 1, 2])[0]
    wrong = {"violations": [{"pointer": "/date", "message": "'gestern' is no date"}], "raw": '{"date": "gestern"}'}
    spent = {"tier": "llm", "model": "llama-70b", "cost_usd": "0.01", **wrong} if code == "wrong_form" else {}
    return failed(name, code, message, document=told, **spent)


def _answered(dice: random.Random, name: str, told: dict[str, Any], *, simulated: bool) -> dict[str, Any]:
    tier = "mllm" if "none" in told["sources"] else dice.choices(["slm", "llm", "rlm"], [70, 26, 4])[0]
    price = {"slm": 2e-8, "llm": 9e-7, "rlm": 9e-6, "mllm": 4e-6}[tier]
    reused = dice.random() < 0.08
    cost = 0 if reused else price * told["chars"] * dice.lognormvariate(0, 0.25) + price * 400
    total = round(dice.lognormvariate(5, 1.2), 2)
    answer: dict[str, Any] = {
        "number": f"R-{dice.randrange(10**6)}", "date": "2026-03-14", "total": total, "currency": "EUR",
        "paid": None if dice.random() < 0.4 else True, "vendor": {"name": "Müller", "city": "Ulm" if dice.random() < 0.8 else None},
        "tags": ["a", "b"], "lines": [{"text": "x", "amount": total}],
    }  # fmt: skip
    fields = {
        f"/{field}": _evidence(dice, surest)
        for field, surest in (
            ("number", 0.98),
            ("date", 0.96),
            ("total", 0.93),
            ("vendor/name", 0.9),
            ("vendor/city", 0.75),
            ("lines/0/amount", 0.9),
        )
    }
    return line(
        name, answer, tier=tier, model=f"{'simulated' if simulated else 'served'}-{tier}", cost_usd=f"{cost:.12f}", reused=reused,
        simulated=simulated, engine_s=None if reused else dice.lognormvariate({"slm": -2.3, "llm": 0.7, "rlm": 2.3, "mllm": 1.2}[tier], 0.4),
        document=told, fields=fields, task="invoice-fields", task_version=3,
    )  # fmt: skip


def _evidence(dice: random.Random, surest: float) -> dict[str, Any]:
    found = dice.random() < surest
    confidence = round(min(1.0, dice.betavariate(12, 1.2)), 2)
    review = None if found and confidence > 0.7 else "low_confidence" if found else "not_in_source"
    return {
        "confidence": confidence,
        "page": 1,
        "box": [0.1, 0.2, 0.4, 0.22] if found else None,
        "found": found,
        "review": review,
    }
