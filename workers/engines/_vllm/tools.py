"""Tools: what the model may call is put into its template, and what it calls is read out of its text by vLLM's parsers."""

from __future__ import annotations

from typing import Any

from orchestrator.fleet import Model
from orchestrator.structured import Form, form_of
from workers.engines.answer_body import Written
from workers.engines.base import bad_request


class Tools:
    """The tool calls of one model, by the parser that `vllm.tool_call_parser` names."""

    def __init__(self, model: Model, tokenizer: Any) -> None:
        self._name = model.tool_parser
        self._tokenizer = tokenizer
        self._parser: Any = None
        if self._name is None:
            return
        from vllm.tool_parsers import ToolParserManager

        try:
            self._parser = ToolParserManager.get_tool_parser(self._name)
        except KeyError:
            raise ValueError(f"tool_parser: vLLM has none that is called {self._name!r}.") from None

    def form_of(self, body: dict[str, Any]) -> Form | None:
        """The form that a forced call must have: the parameters of the function that `tool_choice` names."""
        choice = body.get("tool_choice")
        if not body.get("tools"):
            return None
        if isinstance(choice, dict):
            name = (choice.get("function") or {}).get("name")
            for tool in body["tools"]:
                if tool["function"]["name"] == name:
                    schema = tool["function"].get("parameters") or {"type": "object"}
                    return form_of({"structured_outputs": {"json": schema}})
            raise bad_request(f"`tool_choice` names {str(name)[:80]!r}, which is not among `tools`.")
        if choice != "none" and self._parser is None:
            message = "This model reads no tool calls of its own. Name one function in `tool_choice`, or set tool_parser for it."
            raise bad_request(message, "unsupported_parameter")
        return None

    def read(self, one: Written, body: dict[str, Any]) -> Written:
        """A choice with the calls that its text makes."""
        choice = body.get("tool_choice")
        if choice == "none":
            return one
        if isinstance(choice, dict):
            one.tool_calls = [_call(0, choice["function"]["name"], one.text)]
            one.text = ""
            return one
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        asked = ChatCompletionRequest.model_validate({**body, "messages": body["messages"], "model": "m"})
        found = self._parser(self._tokenizer, asked.tools).extract_tool_calls(one.text, asked)
        if found.tools_called:
            one.tool_calls = [
                _call(index, call.function.name, call.function.arguments) for index, call in enumerate(found.tool_calls)
            ]
            one.text = found.content or ""
        return one


def _call(index: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
