"""What each field of a request to a model may be, as JSON Schema: bounds come from where they are checked.

A schema here is never narrower than its check, so that what the schema refuses is refused. What fields may be beside each other
only the check knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.api.documented import patterns
from orchestrator.contracts import NAME, Stakes, Tier
from orchestrator.fields import CAPS, EFFORTS, FUNCTION_NAME, MAX_BIASES, MAX_STOPS, MAX_TOOLS, PAIRED, WHOLE
from orchestrator.hints import BOUNDED, MOST_SAMPLES, MOST_THINKING, TASK_NAME, VOTES
from orchestrator.requests import CHAT, EMBEDDINGS, MAX_AUDIO, MAX_IMAGES, MAX_MESSAGES, MAX_TEXTS, ROLES
from orchestrator.responses.fields import CAPPED, INCLUDED, MAX_TOOL_CALLS, RETENTIONS, SERVICE_TIERS

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": ["boolean", "null"]}
OBJECT: Final[Schema] = {"type": ["object", "null"]}


def texts(least: int = 0) -> Schema:
    """One text, or a list of them."""
    one = {"type": "string", "minLength": least}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_TEXTS}]}


def number(name: str) -> Schema:
    """A number within the bounds of a field."""
    low, high = CAPS[name]
    kind = "integer" if name in WHOLE else "number"
    return {"type": [kind, "null"], "minimum": low, "maximum": high}


def one_of(values: tuple[str, ...]) -> Schema:
    """One of some texts, or null."""
    return {"enum": [*values, None]}


def whole(pattern: str) -> str:
    """A pattern that holds for the whole of a text, as JSON Schema wants it."""
    return f"^{pattern}$"


PARTS: Final[Schema] = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "object", "required": ["type", "text"], "properties": {"type": {"const": "text"}, "text": TEXT}},
            {
                "type": "object", "required": ["type", "image_url"],
                "properties": {
                    "type": {"const": "image_url"},
                    "image_url": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string", "pattern": "^data:image/"}}},
                },
            },
            {
                "type": "object", "required": ["type", "input_audio"],
                "properties": {
                    "type": {"const": "input_audio"},
                    "input_audio": {"type": "object", "required": ["data"], "properties": {"data": TEXT}},
                },
            },
        ]
    },
}  # fmt: skip
FUNCTION: Final[Schema] = {
    "type": "object", "required": ["function"],
    "properties": {
        "function": {
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": whole(FUNCTION_NAME.pattern)}},
        },
    },
}  # fmt: skip
MESSAGE: Final[Schema] = {
    "type": "object", "required": ["role"],
    "properties": {
        "role": {"enum": list(ROLES)},
        "content": {"anyOf": [TEXT, PARTS, {"type": "null"}]},
        "tool_calls": {"type": ["array", "null"], "items": FUNCTION},
    },
    "description": f"Pictures (data URLs only, at most {MAX_IMAGES} a request) and sounds (at most {MAX_AUDIO}) stand in `content` as parts.",
}  # fmt: skip
TOOL: Final[Schema] = {
    **FUNCTION, "required": ["type", "function"],
    "properties": {"type": {"const": "function"}, **FUNCTION["properties"]},
}  # fmt: skip
HINTS: Final[Schema] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "description": "Hints for the route, and how a request is run.",
    "properties": {
        "task": {"type": ["string", "null"], "pattern": whole(TASK_NAME.pattern)},
        "tier": one_of(("auto", *Tier)),
        "stakes": one_of(tuple(Stakes)),
        "max_cost_usd": {"type": ["string", "number", "null"], "minimum": 0, "maximum": 1_000_000},
        "max_latency_s": {"type": ["number", "null"], "minimum": 0.001, "maximum": 1_000_000},
        "instructions": {"type": ["string", "null"], "maxLength": 100_000},
        "reasoning": FLAG,
        "thinking_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_THINKING},
        "samples": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_SAMPLES},
        "vote": one_of(VOTES),
        "adapter": {"type": ["string", "null"], "pattern": whole(NAME)},
        "min_tier": one_of(BOUNDED),
        "max_tier": one_of(BOUNDED),
        "cascade": {
            "type": ["array", "null"],
            "minItems": 2,
            "maxItems": len(Tier),
            "uniqueItems": True,
            "items": {"enum": list(Tier)},
            "description": "Tiers that are asked one after the other until an answer is accepted.",
        },
        "escalate": FLAG,
        "min_confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "deadline": {"type": ["string", "null"], "pattern": patterns.window(), "description": "Of a single request."},
    },
}
BATCH_HINTS: Final[Schema] = {
    **HINTS,
    "properties": {
        **HINTS["properties"],
        "on_invalid_row": {"enum": ["fail", "report"]},
        "parameters": {**OBJECT, "description": "Of the task, such as labels, schema or questions."},
        "task_version": {"type": ["integer", "null"], "minimum": 1, "maximum": 10**6},
        "refresh": {**FLAG, "description": "Whether nothing is taken from what was answered before."},
    },
}
TAKEN: Final[Schema] = {"description": "Taken, and nothing comes of it."}
EMPTY: Final[Schema] = {"description": "Only empty: no engine here honours it."}

COMMON: Final[Mapping[str, Schema]] = {
    **{name: number(name) for name in CAPS},
    "model": {
        "type": "string", "minLength": 1, "maxLength": 128, "default": "auto",
        "description": "`auto`, a tier, or the name of a model.",
    },
    "rightsize": HINTS,
    "user": TAKEN, "metadata": TAKEN, "store": TAKEN, "service_tier": TAKEN,
    "parallel_tool_calls": {"description": "Whether several functions may be called at once."},
    "stream": FLAG,
    "stream_options": {
        **OBJECT, "additionalProperties": False,
        "properties": {"include_usage": {"type": "boolean"}, "include_obfuscation": {"type": "boolean"}},
    },
    "stop": {
        "anyOf": [
            {"type": "string", "minLength": 1}, {"type": "null"},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MAX_STOPS},
        ],
    },
    "logit_bias": {
        **OBJECT, "propertyNames": {"pattern": r"^[0-9]{1,9}$"}, "maxProperties": MAX_BIASES,
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
    "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
    "echo": EMPTY, "suffix": EMPTY,
    "structured_outputs": {
        **OBJECT, "maxProperties": 1, "minProperties": 1, "additionalProperties": False,
        "properties": {"json": {"type": "object"}, "choice": {"type": "array", "items": TEXT}, "regex": TEXT, "grammar": TEXT},
    },
    "prompt": texts(1),
    "input": texts(),
    "encoding_format": one_of(("float", "base64")),
    "use_activation": FLAG,
    **{name: texts() for pair in PAIRED for name in pair},
    "messages": {"type": "array", "items": MESSAGE, "minItems": 1, "maxItems": MAX_MESSAGES},
    "response_format": {**OBJECT, "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}}, "required": ["type"]},
    "tools": {"type": ["array", "null"], "items": TOOL, "minItems": 1, "maxItems": MAX_TOOLS},
    "tool_choice": {"anyOf": [one_of(("none", "auto", "required")), FUNCTION]},
    "reasoning_effort": one_of(EFFORTS),
}  # fmt: skip
"""By name; what an endpoint has otherwise stands in `APART`."""
APART: Final[Mapping[str, Mapping[str, Schema]]] = {CHAT: {"logprobs": FLAG}}
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    CHAT: ("messages",), "/v1/completions": ("prompt",), EMBEDDINGS: ("input",), "/v1/classify": ("input",), "/v1/score": (),
}  # fmt: skip

NAMED: Final[Schema] = {"type": ["string", "null"], "maxLength": 512}
OF_RESPONSES: Final[Mapping[str, Schema]] = {
    **{name: number(cap) for name, cap in CAPPED.items()},
    "model": {**COMMON["model"], "type": ["string", "null"]},
    "input": {"anyOf": [TEXT, {"type": "array", "items": {"type": "object"}, "minItems": 1}]},
    "instructions": {"type": ["string", "null"]},
    "include": {"type": ["array", "null"], "items": {"enum": list(INCLUDED)}},
    "text": OBJECT, "reasoning": OBJECT, "tools": {"type": ["array", "null"], "items": {"type": "object"}},
    "tool_choice": {"type": ["string", "object", "null"]},
    "parallel_tool_calls": FLAG, "store": FLAG, "stream": FLAG,
    "max_tool_calls": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_TOOL_CALLS},
    "metadata": {**OBJECT, "maxProperties": 16, "propertyNames": {"minLength": 1, "maxLength": 64}, "additionalProperties": {"type": "string", "maxLength": 512}},
    "stream_options": {**OBJECT, "additionalProperties": False, "properties": {"include_obfuscation": {}}},
    "truncation": one_of(("disabled",)),
    "service_tier": one_of(SERVICE_TIERS),
    "prompt_cache_retention": one_of(RETENTIONS),
    "user": NAMED, "safety_identifier": NAMED, "prompt_cache_key": NAMED,
    "rightsize": HINTS,
}  # fmt: skip
