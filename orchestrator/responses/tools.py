"""Functions that a model may call, and which of them it must: from the form of a response to that of a chat. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.fields import FUNCTION_NAME, MAX_TOOLS

PARTS: Final = ("description", "parameters", "strict")
"""What a function has beside its name."""
_KINDS: Final[Mapping[str, tuple[type, str]]] = {
    "description": (str, "text"),
    "parameters": (dict, "a JSON schema, an object"),
    "strict": (bool, "true or false"),
}


def tools_from(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a chat for `tools`, `tool_choice` and `parallel_tool_calls`; raises InvalidRequest with the remedy."""
    given = body.get("tools")
    if not isinstance(given, (list, type(None))) or len(given or ()) > MAX_TOOLS:
        raise _refused(f"`tools` must be a list of at most {MAX_TOOLS} functions.")
    tools = [_tool(one, f"tools[{index}]") for index, one in enumerate(given or ())]
    tools, choice = _chosen(tools, body.get("tool_choice"))
    if not tools:  # servers refuse the other fields without them, and an empty list
        return {}
    found: dict[str, Any] = {"tools": tools}
    if choice is not None:
        found["tool_choice"] = choice
    if body.get("parallel_tool_calls") is not None:
        found["parallel_tool_calls"] = body["parallel_tool_calls"]
    return found


def _tool(given: object, where: str) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(given, dict) or kind != "function":
        raise _refused(
            f"`{where}` is of type {str(kind)[:40]!r}. Only functions that you run yourself are served, such as "
            '{"type": "function", "name": "look", "parameters": {...}}.'
        )
    if extra := sorted(
        key for key in given.keys() - {"type", "name", *PARTS} if given[key] is not None and given[key] is not False
    ):
        raise _refused(f"`{where}` has {extra[:10]}. A function has name, {', '.join(PARTS)}: leave the others out.")
    name = given.get("name")
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
        raise _refused(f"`{where}.name` must be 1 to 64 letters, digits, _, - and .; it stands beside `type`.")
    for part, (wanted, words) in _KINDS.items():
        if not isinstance(given.get(part), (wanted, type(None))):
            raise _refused(f"`{where}.{part}` must be {words}.")
    return {
        "type": "function",
        "function": {"name": name, **{part: given[part] for part in PARTS if given.get(part) is not None}},
    }


def _chosen(tools: list[dict[str, Any]], choice: object) -> tuple[list[dict[str, Any]], Any]:
    """The tools that are left, and a chat's `tool_choice` (None where nothing is said)."""
    names = [one["function"]["name"] for one in tools]
    if choice is None or choice in ("none", "auto") or (choice == "required" and tools):
        return tools, choice
    if isinstance(choice, dict) and choice.get("type") == "function" and choice.get("name") in names:
        return tools, {"type": "function", "function": {"name": choice["name"]}}
    if (
        isinstance(choice, dict)
        and choice.get("type") == "allowed_tools"
        and choice.get("mode") in ("auto", "required")
    ):
        listed = choice.get("tools")
        allowed = [one.get("name") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if allowed and all(name in names for name in allowed) and len(allowed) == len(listed or ()):
            return [one for one in tools if one["function"]["name"] in allowed], choice["mode"]
    raise InvalidRequest(
        "`tool_choice` must be none, auto, required, or name functions in `tools`, which it needs: "
        '{"type": "function", "name": ...}, or {"type": "allowed_tools", "mode": "auto", "tools": [...]}.',
        param="tool_choice",
    )


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="tools")
