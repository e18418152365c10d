"""From a request to `/v1/responses` to the body of a chat. Pure.

Every field is checked here, under the name that its caller knows: what comes out is a chat that `features_of` takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.fields import EFFORTS
from orchestrator.hints import hints_from
from orchestrator.responses.fields import check_names, check_values
from orchestrator.responses.items import messages_from
from orchestrator.responses.tools import tools_from
from orchestrator.structured import form_of

_COPIED: Final[Mapping[str, str]] = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_completion_tokens",
    "metadata": "metadata",
    "rightsize": "rightsize",
}
"""Fields that a chat has as well, with their names there."""
_FORM_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUMMARIES: Final = ("auto", "concise", "detailed")


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat that answers a request; raises InvalidRequest that names the field and the remedy.

    `stream` is handed on: whether a chat can be streamed is for `features_of` to say.
    """
    check_names(body)
    check_values(body)
    hints_from(body.get("rightsize"))
    chat = {theirs: body[ours] for ours, theirs in _COPIED.items() if body.get(ours) is not None}
    chat["messages"] = messages_from(body.get("instructions"), body.get("input"))
    chat.update(_form(body.get("text")))
    chat.update(_effort(body.get("reasoning")))
    chat.update(_logprobs(body))
    chat.update(tools_from(body))
    if body.get("stream"):
        chat["stream"] = True
    return chat


def _form(text: object) -> dict[str, Any]:
    if text is None:
        return {}
    if not isinstance(text, dict) or text.keys() - {"format", "verbosity"}:
        raise InvalidRequest("`text` may hold `format` and `verbosity`.", param="text")
    if text.get("verbosity") not in (None, "medium"):
        raise InvalidRequest(
            "`text.verbosity` is served only as medium. Say in `instructions` how long the answer is to be.",
            param="text",
        )
    given = text.get("format")
    kind = given.get("type") if isinstance(given, dict) else None
    if given is None or kind == "text":
        return {}
    if isinstance(given, dict) and kind == "json_object":
        asked: dict[str, Any] = {"type": "json_object"}
    elif isinstance(given, dict) and kind == "json_schema":
        asked = {"type": "json_schema", "json_schema": _schema(given)}
    else:
        raise InvalidRequest(
            '`text.format` must be {"type": "text"}, {"type": "json_object"} or '
            '{"type": "json_schema", "name": ..., "schema": {...}}.',
            param="text",
        )
    try:
        form_of({"response_format": asked})
    except InvalidRequest as refused:
        raise InvalidRequest(refused.message.replace("`response_format`", "`text.format`"), param="text") from None
    return {"response_format": asked}


def _schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under `json_schema` in a chat; here it stands beside the type."""
    if (
        given.keys() - {"type", "name", "schema", "strict", "description"}
        or not isinstance(given.get("name"), str)
        or not _FORM_NAME.fullmatch(given["name"])
        or not isinstance(given.get("schema"), dict)
        or not isinstance(given.get("strict"), (bool, type(None)))
        or not isinstance(given.get("description"), (str, type(None)))
    ):
        raise InvalidRequest(
            "`text.format` of type json_schema has `name` (letters, digits, _ and -, at most 64) and `schema`, an object, beside "
            "its type, and may have `strict` and `description`.",
            param="text",
        )
    return {key: given[key] for key in ("name", "description", "schema", "strict") if given.get(key) is not None}


def _effort(reasoning: object) -> dict[str, Any]:
    if reasoning is None:
        return {}
    if not isinstance(reasoning, dict) or any(
        reasoning[key] is not None for key in reasoning.keys() - {"effort", "summary", "generate_summary"}
    ):
        raise InvalidRequest("`reasoning` may hold `effort` and `summary`: leave the others out.", param="reasoning")
    for name in ("summary", "generate_summary"):
        if reasoning.get(name) not in (None, *_SUMMARIES):
            raise InvalidRequest(f"`reasoning.{name}` must be one of {', '.join(_SUMMARIES)}.", param="reasoning")
    effort = reasoning.get("effort")
    if effort not in (None, *EFFORTS):
        raise InvalidRequest(f"`reasoning.effort` must be one of {', '.join(EFFORTS)}.", param="reasoning")
    return {} if effort is None else {"reasoning_effort": effort}


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any]:
    """Log probabilities for who includes them, or says how many."""
    most = body.get("top_logprobs") or 0
    if most or "message.output_text.logprobs" in (body.get("include") or ()):
        return {"logprobs": True, "top_logprobs": most}
    return {}
