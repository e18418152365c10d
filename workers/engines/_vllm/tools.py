"""Tools: what the model may call is put into its template, and what it calls is read out of its text by vLLM's parsers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from orchestrator.errors import EngineFault
from orchestrator.fleet import Model
from orchestrator.structured import Form, form_of
from workers.engines.assembly import CHAT
from workers.engines.base import EngineRequest, bad_request

Said = tuple[str, list[dict[str, Any]]]
"""What of a text is content, and the pieces of calls that it makes."""


class Reading(Protocol):
    """Tells what one choice says from what it calls, while it is written."""

    def add(self, text: str, tokens: Sequence[int], *, ended: bool) -> Said:
        """Take in what was written."""


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

    def reading(self, request: EngineRequest, *, whole: bool) -> Reading:
        """How the text of one choice is read; with `whole` it comes at once."""
        body = request.body
        choice = body.get("tool_choice")
        if request.endpoint != CHAT or not body.get("tools") or choice == "none":
            return Text()
        if isinstance(choice, dict):
            return Arguments(choice["function"]["name"])
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        asked = ChatCompletionRequest.model_validate({**body, "messages": body["messages"], "model": "m"})
        parser = self._parser(self._tokenizer, asked.tools)
        return Found(parser, asked) if whole else Coming(parser, asked, forced=choice == "required")


class Text:
    """All of it is content."""

    def add(self, text: str, tokens: Sequence[int], *, ended: bool) -> Said:
        """Take in what was written."""
        del tokens, ended
        return text, []


class Arguments:
    """All of it are the arguments of the one function that had to be called."""

    def __init__(self, name: str) -> None:
        self._name: str | None = name

    def add(self, text: str, tokens: Sequence[int], *, ended: bool) -> Said:
        """Take in what was written."""
        del tokens, ended
        if self._name is not None:
            name, self._name = self._name, None
            return "", [_call(0, name, text)]
        return "", [{"index": 0, "function": {"arguments": text}}] if text else []


class Found:
    """Calls that the model's parser finds in the whole text."""

    def __init__(self, parser: Any, asked: Any) -> None:
        self._parser, self._asked = parser, asked

    def add(self, text: str, tokens: Sequence[int], *, ended: bool) -> Said:
        """Take in what was written."""
        del tokens, ended
        found = self._parser.extract_tool_calls(text, self._asked)
        if not found.tools_called:
            return text, []
        calls = [_call(place, one.function.name, one.function.arguments) for place, one in enumerate(found.tool_calls)]
        return found.content or "", calls


class Coming:
    """Calls that the model's parser finds while the text comes. Where one has to be made, nothing is told before it."""

    def __init__(self, parser: Any, asked: Any, *, forced: bool) -> None:
        self._parser, self._asked = parser, asked
        self._waits, self._held, self._told = forced, "", ""
        self._text, self._tokens = "", list[int]()
        self._begun: set[int] = set()

    def add(self, text: str, tokens: Sequence[int], *, ended: bool) -> Said:
        """Take in what was written; raises EngineFault where vLLM's parser stumbles over it."""
        before, tokens_before = self._text, self._tokens
        self._text, self._tokens = before + text, [*tokens_before, *tokens]
        try:
            told = self._parser.extract_tool_calls_streaming(
                before, self._text, text, tokens_before, self._tokens, list(tokens), self._asked
            )
            said, calls = (told.content or "", self._pieces(told.tool_calls)) if told is not None else ("", [])
            if ended:
                said, calls = self._last(said, calls)
        except Exception as error:
            raise EngineFault(
                f"vLLM's tool parser cannot read what the model wrote ({type(error).__name__}). Ask for it without `stream`.",
                code="bad_tool_call",
                retryable=True,
            ) from error
        self._told += said
        self._waits = self._waits and not self._begun
        if self._waits:
            self._held += said
            return "", []
        held, self._held = self._held, ""
        return held + said, calls

    def _pieces(self, told: Sequence[Any]) -> list[dict[str, Any]]:
        """Pieces of calls as they stand in a delta, of each the first with its name."""
        pieces = []
        for one in told:
            name = one.function.name if one.function else None
            arguments = (one.function.arguments if one.function else None) or ""
            if one.index not in self._begun and name:
                self._begun.add(one.index)
                pieces.append(_call(one.index, name, arguments))
            elif one.index in self._begun and arguments:
                pieces.append({"index": one.index, "function": {"arguments": arguments}})
        return pieces

    def _last(self, said: str, calls: list[dict[str, Any]]) -> Said:
        """The last step with all that the parser has kept back until then, as `vllm serve` tells it, and what it would let fall."""
        finish = getattr(self._parser, "finish_streaming", None)
        last = finish() if finish is not None else None
        if last is not None:
            said, calls = said + (last.content or ""), calls + self._pieces(last.tool_calls)
        if calls and (rest := self._parser.get_remaining_unstreamed_args()):
            calls = [*calls, {"index": calls[-1]["index"], "function": {"arguments": rest}}]
        if not self._begun:
            content, calls = Found(self._parser, self._asked).add(self._text, self._tokens, ended=True)
            self._begun.update(call["index"] for call in calls)
            before = self._told + said
            said += content[len(before) :] if content.startswith(before) else ""
        return said, calls


def _call(place: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": place, "id": f"call_{place}", "type": "function", "function": function}
