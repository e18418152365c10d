"""One item of a streamed response as it grows, and the events that tell of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Event = dict[str, Any]

_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
    "arguments": ("response.function_call_arguments", "arguments"),
}
"""What the events of a part are called, and the field that holds its whole text."""


@dataclass(slots=True)
class Part:
    """A text within an item: one of the parts of its content, or the arguments of a call."""

    kind: str
    place: int
    pieces: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def as_part(self, text: str) -> dict[str, Any]:
        """The part in OpenAI's form, with this text."""
        extra = {"annotations": [], "logprobs": list(self.logprobs)} if self.kind == "output_text" else {}
        return {"type": self.kind, **extra, _NAMES[self.kind][1]: text}


@dataclass(slots=True)
class Growing:
    """An item of which not all has been streamed."""

    kind: str
    id: str
    place: int
    call: dict[str, str] | None = None
    """Of a call its `call_id` and `name`: they stay as they were told first."""
    parts: dict[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.call is not None:  # a call has arguments, though they be empty
            self.parts["arguments"] = Part("arguments", 0)

    def as_item(self, status: str) -> dict[str, Any]:
        """The item in OpenAI's form, as far as it was streamed."""
        item: dict[str, Any] = {"id": self.id, "type": self.kind, "status": status}
        texts = {kind: "".join(part.pieces) for kind, part in self.parts.items()}
        if self.call is not None:
            return {**item, **self.call, "arguments": texts.get("arguments", "")}
        content = [part.as_part(texts[kind]) for kind, part in self.parts.items()]
        return {**item, "content": content, **({"summary": []} if self.kind == "reasoning" else {"role": "assistant"})}


def first(item: Growing) -> Event:
    """The event that an item begins."""
    return {"type": "response.output_item.added", "output_index": item.place, "item": item.as_item("in_progress")}


def more(item: Growing, kind: str, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> Iterator[Event]:
    """The events of a piece of text for the part of that kind, which begins with its first piece."""
    part = item.parts.get(kind)
    if part is None:
        part = item.parts[kind] = Part(kind, len(item.parts))
        yield {"type": "response.content_part.added", **_where(item, part), "part": part.as_part("")}
    if text or logprobs:
        part.pieces.append(text)
        part.logprobs.extend(logprobs)
        yield {"type": f"{_NAMES[kind][0]}.delta", **_where(item, part), "delta": text, **_likely(kind, logprobs)}


def done(item: Growing, recorded: Mapping[str, Any] | None = None) -> Iterator[Event]:
    """The events that end an item: what is recorded of it and was not streamed, then each part and the item as they are."""
    whole = {} if recorded is None else _texts_of(recorded)
    for kind, (text, logprobs) in whole.items():
        part = item.parts.get(kind)
        streamed, rows = ("".join(part.pieces), len(part.logprobs)) if part is not None else ("", 0)
        if part is None or text.startswith(streamed):
            yield from more(item, kind, text[len(streamed) :], logprobs[rows:])
    for kind, part in item.parts.items():
        text = whole[kind][0] if kind in whole else "".join(part.pieces)
        name, holds = _NAMES[kind]
        yield {"type": f"{name}.done", **_where(item, part), holds: text, **_likely(kind, part.logprobs)}
        if kind != "arguments":
            yield {"type": "response.content_part.done", **_where(item, part), "part": part.as_part(text)}
    final = item.as_item("completed") if recorded is None else {**recorded, **(item.call or {})}
    yield {"type": "response.output_item.done", "output_index": item.place, "item": final}


def _where(item: Growing, part: Part) -> dict[str, Any]:
    place = {"item_id": item.id, "output_index": item.place}
    return place if part.kind == "arguments" else {**place, "content_index": part.place}


def _likely(kind: str, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Log probabilities as events have them: without the bytes."""
    if kind != "output_text":
        return {}
    return {
        "logprobs": [
            {**_bare(one), "top_logprobs": [_bare(other) for other in one["top_logprobs"]]} for one in logprobs
        ]
    }


def _bare(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": row["token"], "logprob": row["logprob"]}


def _texts_of(item: Mapping[str, Any]) -> dict[str, tuple[str, Sequence[dict[str, Any]]]]:
    """The texts of a recorded item, with their log probabilities, by their kind."""
    if item["type"] == "function_call":
        return {"arguments": (item["arguments"], ())}
    return {part["type"]: (part[_NAMES[part["type"]][1]], part.get("logprobs") or ()) for part in item["content"]}
