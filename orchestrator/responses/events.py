"""From a streamed chat to the events of a streamed response. Pure.

Items are written one after the other, as OpenAI writes them: one is done when the next begins. The answer that is recorded in
the end has the last word: what of it was not streamed follows before the stream ends, and the last event holds it whole. So a
model that does not stream gives the same events, all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from orchestrator.responses.answer import item_id, named, shell
from orchestrator.responses.growing import Event, Growing, done, first, more
from orchestrator.responses.said import Called, logprobs_in, said_in

_CODES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("backpressure", "rate_limited", "rate_limit_exceeded"), "rate_limit_exceeded"),
    **dict.fromkeys(("bad_picture", "no_images"), "invalid_image"),
    "picture_too_large": "image_too_large",
    **dict.fromkeys(
        ("invalid_request", "bad_request", "context_length_exceeded", "input_too_long", "unsupported_parameter",
         "unsupported_form", "bad_part", "bad_audio", "audio_too_large", "audio_too_long", "no_audio"),
        "invalid_prompt",
    ),
}  # fmt: skip
"""OpenAI's closed list of codes for a failed response, by ours; `server_error` for the others."""


class Events:
    """The events of one response, made from the pieces of a chat.

    Feed `piece` what may be shown: the reasoning of a model only where it stands in the recorded answer as well.
    """

    def __init__(self, asked: Mapping[str, Any], response_id: str, created_at: int, model: str = "auto") -> None:
        self._shell = shell(asked, response_id, created_at, model)
        self._id = response_id
        self._items: dict[str, Growing] = {}
        self._open: Growing | None = None
        self._calls: dict[int, str] = {}
        """The id of each call's item, by the call's index in the chat."""
        self._taken: set[str] = set()
        """The ids by which calls are answered."""
        self._number = 0

    def begin(self) -> list[Event]:
        """The response has been accepted, and its model is at work."""
        return self._numbered(
            {"type": f"response.{step}", "response": dict(self._shell)} for step in ("created", "in_progress")
        )

    def piece(self, choices: Sequence[Mapping[str, Any]]) -> list[Event]:
        """What the choices of one chunk of a chat add."""
        return self._numbered(event for one in choices if not one.get("index") for event in self._added(one))

    def end(self, response: Mapping[str, Any]) -> list[Event]:
        """The rest of the recorded response, as `from_chat` made it, and the response itself."""
        return self._numbered(self._ended(response))

    def failed(self, error: Mapping[str, Any]) -> list[Event]:
        """The response has failed, with an error in OpenAI's form; what was written so far is in the last event."""
        return self._numbered(self._broken_off(error))

    def _numbered(self, events: Iterator[Event]) -> list[Event]:
        numbered = []
        for event in events:
            numbered.append({**event, "sequence_number": self._number})
            self._number += 1
        return numbered

    def _added(self, choice: Mapping[str, Any]) -> Iterator[Event]:
        said, logprobs = said_in(choice.get("delta") or {}), logprobs_in(choice)
        if said.thought:
            yield from self._write("reasoning", "reasoning_text", said.thought)
        if said.text or logprobs:
            yield from self._write("message", "output_text", said.text, logprobs)
        if said.refusal:
            yield from self._write("message", "refusal", said.refusal)
        for call in said.calls:
            yield from self._called(call)

    def _write(self, kind: str, part: str, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> Iterator[Event]:
        item = self._items.get(item_id(kind, self._id))
        if item is None:
            item = Growing(kind, item_id(kind, self._id), len(self._items))
            yield from self._begun(item)
        if item is self._open:  # what comes for an item that is done is in the recorded answer
            yield from more(item, part, text, logprobs)

    def _called(self, call: Called) -> Iterator[Event]:
        if call.place not in self._calls:
            if not call.name:
                return  # it is no call before it has a name
            own = item_id("function_call", self._id, len(self._calls))
            self._calls[call.place] = own
            yield from self._begun(
                Growing("function_call", own, len(self._items), self._named(call.name, call.call_id, own))
            )
        item = self._items[self._calls[call.place]]
        if item is self._open:
            yield from more(item, "arguments", call.arguments)

    def _named(self, name: str, given_id: str, own: str) -> dict[str, str]:
        told = named(name, given_id, own, self._taken)
        self._taken.add(told["call_id"])
        return told

    def _begun(self, item: Growing) -> Iterator[Event]:
        if self._open is not None:
            yield from done(self._open)
        self._items[item.id] = self._open = item
        yield first(item)

    def _ended(self, response: Mapping[str, Any]) -> Iterator[Event]:
        recorded = {item["id"]: item for item in response["output"]}
        if self._open is not None:
            yield from done(self._open, recorded.get(self._open.id))
            self._open = None
        for name, item in recorded.items():
            if name not in self._items:
                is_call = item["type"] == "function_call"
                call = self._named(item["name"], item["call_id"], name) if is_call else None
                self._items[name] = Growing(item["type"], name, len(self._items), call)
                yield first(self._items[name])
                yield from done(self._items[name], item)
        output = [{**item, **(self._items[name].call or {})} for name, item in recorded.items()]
        output.sort(key=lambda item: self._items[item["id"]].place)
        yield {"type": f"response.{response['status']}", "response": {**response, "output": output}}

    def _broken_off(self, error: Mapping[str, Any]) -> Iterator[Event]:
        message, code = str(error.get("message") or "The request failed."), error.get("code")
        yield {"type": "error", "code": code, "message": message, "param": error.get("param")}
        told = {"code": _CODES.get(str(code), "server_error"), "message": message}
        output = [item.as_item("incomplete" if item is self._open else "completed") for item in self._items.values()]
        yield {
            "type": "response.failed",
            "response": {**self._shell, "status": "failed", "error": told, "output": output},
        }
