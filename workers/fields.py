"""An answer about a document says where each of its values stands in it, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.contracts import FIELDS, Answer
from orchestrator.tasks import verdict
from orchestrator.tasks.verdict import Held
from workers.engines.base import EngineRequest


def tell(request: EngineRequest, answer: Answer, held: Held) -> None:
    """Note in the answer what is known of its values; the probabilities of its tokens have served, and are not kept."""
    choices: Sequence[dict[str, Any]] = answer.body.get("choices") or ({},)
    message = choices[0].get("message") or {}
    tokens = [list((choice.pop("logprobs", None) or {}).get("content") or ()) for choice in choices]
    if found := verdict.told(str(message.get("content") or ""), _read(request.body), held, tokens[0]):
        answer.body[FIELDS] = found


def _read(body: dict[str, Any]) -> str:
    """The text of the document: the last message of the request, or the text in it."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return next((str(part["text"]) for part in content if part.get("type") == "text"), "")
