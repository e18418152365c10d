"""An answer about a document says where each of its values stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.contracts import FIELDS, Answer
from orchestrator.tasks import verdict
from orchestrator.tasks.verdict import Held
from workers.engines.base import EngineRequest


def tell(request: EngineRequest, answer: Answer, held: Held) -> None:
    """Note in the answer the places of its values in the text that the model read."""
    choices: Sequence[dict[str, Any]] = answer.body.get("choices") or ({},)
    message = choices[0].get("message") or {}
    if found := verdict.located(str(message.get("content") or ""), _read(request.body), held):
        answer.body[FIELDS] = found


def _read(body: dict[str, Any]) -> str:
    """The text of the document: the last message of the request, or the text in it."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return next((str(part["text"]) for part in content if part.get("type") == "text"), "")
