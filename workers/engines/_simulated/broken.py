"""Answers whose form is broken, as small models break it, in ten ways: which answers and how follows from the job's id and the seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.structured import differences, form_of

TO_MEND: Final = "Your answer does not have the required form"
"""How the last message begins of a request to mend an answer (`workers/forms.py`)."""
_OUTSIDE: Final = "none of these"

Schema = Mapping[str, Any]
Way = Callable[[str, Schema], str | None]
"""The broken text of a right one, or None where this way does not apply to it."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What is drawn for the form of a job's answers."""

    is_broken: bool
    way: int
    """The place in `WAYS` of the one that is tried first."""
    is_mended: bool
    """Whether the answer is right once the model is told what was wrong."""

    @classmethod
    def of(cls, drawn: Sequence[float], breaks: float, mends: float) -> Fate:
        """The fate that three drawn numbers make."""
        return cls(drawn[0] < breaks, int(drawn[1] * len(WAYS)), drawn[2] < mends)


def as_fated(said: str, body: Mapping[str, Any], fate: Fate) -> str:
    """A right answer as the fate of its job has it. What is no JSON has no form that could break, and stays."""
    form = form_of(body) if fate.is_broken else None
    to_mend = _asks_to_mend(body)
    if form is None or differences(said, form) or form.kind not in ("schema", "object") or (to_mend and fate.is_mended):
        return said
    schema = json.loads(form.value) if form.value else {}
    order = list(WAYS)
    first = fate.way + to_mend  # mended badly, it is wrong in another way
    for place in range(len(order)):
        text = WAYS[order[(first + place) % len(order)]](said, schema)
        if text is not None and differences(text, form):
            return text
    return said


def _asks_to_mend(body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, Sequence) and messages else None
    content = last.get("content") if isinstance(last, Mapping) else None
    return isinstance(content, str) and content.startswith(TO_MEND)


def _object(said: str) -> dict[str, Any]:
    value = json.loads(said)
    return value if isinstance(value, dict) else {}


def _missing(said: str, schema: Schema) -> str | None:
    value, needed = _object(said), schema.get("required") or ()
    name = next((one for one in needed if one in value), None)
    return json.dumps({key: one for key, one in value.items() if key != name}) if name else None


def _wrong_type(said: str, _: Schema) -> str | None:
    value = _object(said)
    return json.dumps({key: {"value": one} for key, one in value.items()}) if value else None


def _outside(said: str, schema: Schema) -> str | None:
    """A value that is outside of its list or its bounds."""
    value = _object(said)
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        if name not in value or not isinstance(part, Mapping):
            continue
        if part.get("enum") or "const" in part:
            return json.dumps({**value, name: _OUTSIDE})
        for bound, step in (("minimum", -1), ("maximum", 1)):
            if isinstance(part.get(bound), int | float):
                return json.dumps({**value, name: part[bound] + step})
    return None


def _single_quotes(said: str, _: Schema) -> str | None:
    return repr(json.loads(said))


WAYS: Final[Mapping[str, Way]] = {
    "prose": lambda said, _: f"Here is the answer that you asked for:\n\n{said}\n\nIs there anything else?",
    "fence": lambda said, _: f"```json\n{said}\n```",
    "truncated": lambda said, _: said[: max(1, len(said) // 2)],
    "trailing_comma": lambda said, _: f"{said[:-1]},{said[-1:]}" if said[:1] in "{[" else None,
    "single_quotes": _single_quotes,
    "missing_field": _missing,
    "wrong_type": _wrong_type,
    "extra_field": lambda said, _: json.dumps({**_object(said), "confidence": "high"}),
    "outside": _outside,
    "empty": lambda _, __: "{}",
}  # fmt: skip
"""Names and makers. One that does not apply to an answer, or leaves it right, gives its place to the next."""
