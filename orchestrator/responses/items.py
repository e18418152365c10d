"""From the input of a response, text or items, to the messages of a chat. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.fields import FUNCTION_NAME
from orchestrator.requests import MAX_MESSAGES
from orchestrator.responses.content import check_media, content_from, text_from

ROLES: Final[Mapping[str, str]] = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
"""The roles of a message here and in a chat, whose templates rarely know a developer."""
MAX_CALL_ID_CHARS: Final = 256


@dataclass(slots=True)
class _Talk:
    """A chat as it grows item by item."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    """The ids of the calls that were made so far."""


def messages_from(instructions: object, given: object) -> list[dict[str, Any]]:
    """The messages of a chat; raises InvalidRequest that names the item and the remedy."""
    talk = _Talk()
    if not isinstance(instructions, (str, type(None))):
        raise InvalidRequest("`instructions` must be text.", param="instructions")
    if instructions:
        talk.messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        talk.messages.append({"role": "user", "content": given})
    elif isinstance(given, list) and 0 < len(given) <= MAX_MESSAGES:
        for index, item in enumerate(given):
            _add(talk, item, f"input[{index}]")
    else:
        raise InvalidRequest(f"`input` must be text, or a list of 1 to {MAX_MESSAGES:,} items.", param="input")
    if not 0 < len(talk.messages) <= MAX_MESSAGES:
        raise InvalidRequest(
            f"`input` must come to 1 to {MAX_MESSAGES:,} messages, with `instructions`.", param="input"
        )
    check_media(talk.messages)
    return talk.messages


def _add(talk: _Talk, item: object, where: str) -> None:
    if not isinstance(item, dict):
        raise _refused(f"`{where}` must be an object.")
    match item.get("type") or ("message" if "role" in item else "item_reference"):
        case "message":
            _say(talk, item, where)
        case "function_call":
            _call(talk, item, where)
        case "function_call_output":
            _return(talk, item, where)
        case "reasoning":
            pass  # a model reads what was said, not what was thought: chat templates leave it out as well
        case "item_reference":
            raise _refused(f"`{where}` refers to a stored item, which is not served. Send the item itself.")
        case other:
            raise _refused(
                f"`{where}` is of type {str(other)[:40]!r}, which is not served. Use message, function_call and "
                "function_call_output: tools are functions that you run yourself."
            )


def _say(talk: _Talk, item: Mapping[str, Any], where: str) -> None:
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise _refused(f"`{where}.role` must be one of {', '.join(ROLES)}.")
    place = f"{where}.content"
    if role != "assistant":
        talk.messages.append({"role": ROLES[role], "content": content_from(item.get("content"), place)})
        return
    said = text_from(item.get("content"), place)
    turn = talk.messages[-1] if talk.messages else {}
    if "tool_calls" in turn and turn["content"] is None:
        turn["content"] = said  # no message may stand between calls and what they came to
    else:
        talk.messages.append({"role": "assistant", "content": said})


def _call(talk: _Talk, item: Mapping[str, Any], where: str) -> None:
    name, arguments, call_id = item.get("name"), item.get("arguments"), _call_id(item, where)
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name) or not isinstance(arguments, str):
        raise _refused(
            f"`{where}` must have `name` (letters, digits, _, - and ., at most 64) and `arguments` as text, as the response had them."
        )
    if not talk.messages or talk.messages[-1]["role"] != "assistant":
        talk.messages.append({"role": "assistant", "content": None})
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    talk.messages[-1].setdefault("tool_calls", []).append(call)
    talk.calls.add(call_id)


def _return(talk: _Talk, item: Mapping[str, Any], where: str) -> None:
    call_id = _call_id(item, where)
    if call_id not in talk.calls:
        raise _refused(f"`{where}` answers a call that is not in `input`. Send the function_call before it.")
    content = content_from(item.get("output"), f"{where}.output")
    talk.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})


def _call_id(item: Mapping[str, Any], where: str) -> str:
    given = item.get("call_id")
    if not isinstance(given, str) or not 0 < len(given) <= MAX_CALL_ID_CHARS:
        raise _refused(
            f"`{where}.call_id` must be text of 1 to {MAX_CALL_ID_CHARS} characters, as the response had it."
        )
    return given


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="input")
