"""What form an answer must have: a JSON schema, any JSON object, one of a few choices, a regex or a grammar. Pure.

Checked twice: when a request is submitted (can this be held to at all?) and when the model has answered, whatever its
engine says of the answer. Patterns are matched by a machine that takes linear time, so that none can explode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from orchestrator.errors import InvalidRequest
from orchestrator.schema_work import UnboundedError, Work

Kind = Literal["schema", "object", "choice", "regex", "grammar"]

MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_TOOLS_BYTES: Final = 512 * 1024
MAX_DEPTH: Final = 32
MAX_PATTERN: Final = 1_000
MAX_CHOICES: Final = 1_000
MAX_CHOICE_CHARS: Final = 1_000
MAX_GRAMMAR: Final = 20_000
MAX_PROBLEMS: Final = 5
"""Told of one answer: a model that is asked to mend it reads no more."""
MAX_REPEAT: Final = 10_000
"""Of a bound such as `{0,10000}` or `maxItems`: an engine unrolls it."""
MAX_NESTED: Final = 500
"""Brackets of a grammar: engines read them with one call of a function within the other."""
MOST_WORK: Final = 5_000_000
"""Evaluations of a schema that one answer may take: about a tenth of a second."""
MOST_TOLD: Final = 2_000
"""Up to so many evaluations it is told where an answer goes wrong: telling takes a thousand times as long as finding out."""
_BOUNDS: Final = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")


@dataclass(frozen=True, slots=True)
class Form:
    """The form that an answer must have."""

    kind: Kind
    value: str
    """The schema or the choices as JSON, the pattern or the grammar as text; empty for any object."""


def form_of(body: Mapping[str, Any]) -> Form | None:
    """The form that a body asks for, None for free text; raises InvalidRequest that names the field and the remedy."""
    asked, extra = body.get("response_format"), body.get("structured_outputs")
    if asked is not None and extra is not None:
        raise InvalidRequest(
            "`response_format` and `structured_outputs` exclude each other: keep one.", param="response_format"
        )
    if extra is not None:
        return _from_extra(extra)
    if asked is None:
        return None
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return Form("object", "")
    wrapped = asked.get("json_schema") if isinstance(asked, Mapping) else None
    if kind != "json_schema" or not isinstance(wrapped, Mapping) or not isinstance(wrapped.get("schema"), Mapping):
        raise InvalidRequest(
            '`response_format` must be {"type": "text"}, {"type": "json_object"} or '
            '{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}.',
            param="response_format",
        )
    return _schema(wrapped["schema"], "response_format")


def _from_extra(extra: object) -> Form:
    """VLLM's own field: exactly one of `json`, `choice`, `regex` and `grammar`."""
    known = ("json", "choice", "regex", "grammar")
    if not isinstance(extra, Mapping) or len(extra) != 1 or next(iter(extra)) not in known:
        raise InvalidRequest(
            f"`structured_outputs` must hold exactly one of {', '.join(known)}.", param="structured_outputs"
        )
    ((kind, value),) = extra.items()
    if kind == "json":
        return _schema(value, "structured_outputs.json")
    if kind == "choice":
        if (
            not isinstance(value, list)
            or not 0 < len(value) <= MAX_CHOICES
            or not all(isinstance(one, str) and 0 < len(one) <= MAX_CHOICE_CHARS for one in value)
        ):
            raise InvalidRequest(
                "`structured_outputs.choice` must be a list of 1 to 1,000 texts of at most 1,000 characters.",
                param="structured_outputs",
            )
        return Form("choice", json.dumps(value))
    most = MAX_PATTERN if kind == "regex" else MAX_GRAMMAR
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise InvalidRequest(
            f"`structured_outputs.{kind}` must be text of 1 to {most:,} characters.", param="structured_outputs"
        )
    if kind == "regex":
        _check_pattern(value, "structured_outputs.regex")
        return Form("regex", value)
    _check_grammar(value)
    return Form("grammar", value)


_REPEATS: Final = re.compile(r"\{\s*([0-9]*)\s*(?:,\s*([0-9]*)\s*)?\}")


def _check_grammar(grammar: str) -> None:
    """Refuse what an engine would unroll or read without bound; whether it is a grammar at all, only the engine knows.

    Brackets in literals count too: what is quoted, each dialect says in its own way.
    """
    depth = deepest = 0
    for sign in grammar:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    field = "structured_outputs"
    if deepest > MAX_NESTED:
        raise InvalidRequest(f"`{field}.grammar` nests brackets over {MAX_NESTED} deep: nest less.", param=field)
    if any(len(bound) > 9 or int(bound or 0) > MAX_REPEAT for found in _REPEATS.findall(grammar) for bound in found):
        raise InvalidRequest(f"`{field}.grammar` repeats something over {MAX_REPEAT:,} times: lower it.", param=field)


def check_parameters(schemas: Sequence[Mapping[str, Any]], *, forced: bool) -> None:
    """Check the parameters of functions as forms of answers; only where one must be called is an engine held to their patterns."""
    if sum(len(json.dumps(one)) for one in schemas) > MAX_TOOLS_BYTES:
        raise InvalidRequest(
            "The parameters of all `tools` are over 512 KiB. Send fewer, or smaller ones.", param="tools"
        )
    for index, one in enumerate(schemas):
        _schema(one, f"tools[{index}].function.parameters", patterns=forced)


def checked_schema(schema: object, where: str) -> Form:
    """A JSON schema as the form of answers; raises InvalidRequest where no answer can be held to it."""
    return _schema(schema, where)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text, in linear time; raises ValueError for one that cannot be matched so."""
    return bool(_validator(json.dumps({"pattern": pattern})).is_valid(text))


def _schema(schema: object, where: str, *, patterns: bool = True) -> Form:
    if not isinstance(schema, Mapping):
        raise InvalidRequest(f"`{where}` must be a JSON schema, an object.", param=_field(where))
    try:
        text = json.dumps(schema, separators=(",", ":"))
    except RecursionError:
        raise InvalidRequest(f"The schema in `{where}` is nested over {MAX_DEPTH} deep.", param=_field(where)) from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise InvalidRequest(f"The schema in `{where}` is over 64 KiB. Make it smaller.", param=_field(where))
    form = Form("schema", text)
    _checked_schema(text, where, patterns)
    return form


@lru_cache(maxsize=256)
def _checked_schema(text: str, where: str, patterns: bool) -> None:
    """A batch asks for the same schema in every row."""
    import jsonschema_rs

    field = _field(where)
    for depth, key, value in _walk(json.loads(text)):
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The schema in `{where}` is nested over {MAX_DEPTH} deep.", param=field)
        if key in _BOUNDS and isinstance(value, (int, float)) and value > MAX_REPEAT:
            raise InvalidRequest(f"The schema in `{where}` has {key} over {MAX_REPEAT:,}: lower it.", param=field)
        if key == "pattern" and isinstance(value, str) and (patterns or len(value) > MAX_PATTERN):
            _check_pattern(value, f"{where}: pattern")
        if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
            raise InvalidRequest(
                f"The schema in `{where}` refers to {value[:80]!r}. Put what it needs into $defs: nothing is fetched.",
                param=field,
            )
    try:
        _ = _checker(text) if patterns else Work(json.loads(text))
    except UnboundedError as error:
        raise InvalidRequest(f"The schema in `{where}` {error}.", param=field) from None
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        told = str(error).partition("\n")[0]
        raise InvalidRequest(f"The schema in `{where}` is not valid: {told[:300]}.", param=field) from None


def _field(where: str) -> str:
    """The field of a body in which a place lies."""
    return re.split(r"[.:\[]", where, maxsplit=1)[0]


def _walk(value: object, depth: int = 0, key: str = "") -> Iterator[tuple[int, str, object]]:
    """Every value of a schema with its depth and its key, without recursion of ours beyond one level too many."""
    yield depth, key, value
    if depth > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _walk(inner, depth + 1, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, depth + 1)


def _check_pattern(pattern: str, where: str) -> None:
    field = _field(where)
    if len(pattern) > MAX_PATTERN:
        raise InvalidRequest(f"`{where}` is over {MAX_PATTERN:,} characters.", param=field)
    try:
        _validator(json.dumps({"pattern": pattern}))
    except Exception as error:
        raise InvalidRequest(
            f"`{where}` is no pattern that can be matched in linear time (no look-around, no back-references, bounded "
            f"repeats): {str(error).partition(chr(10))[0][:200]}.",
            param=field,
        ) from None


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(
        json.loads(schema), pattern_options=jsonschema_rs.RegexOptions(size_limit=2**20), offline=True
    )


@lru_cache(maxsize=256)
def _checker(schema: str) -> tuple[Any, Work]:
    """The validator of a schema, and what counts its work; raises ValueError for one that has none."""
    work = Work(json.loads(schema))
    return _validator(schema), work


def problems(text: str, form: Form) -> list[str]:
    """What is wrong with an answer, in words that a model can mend it by; empty for one of the right form."""
    return [
        told if told.startswith("it ") else f"{pointer.lstrip('/') or 'the whole'}: {told}"
        for pointer, told in differences(text, form)
    ]


def differences(text: str, form: Form) -> list[tuple[str, str]]:
    """Where an answer has not its form, by JSON pointer (empty for the whole), and what is wrong there.

    A grammar is not checked: only the engine that holds to it can read it.
    """
    if form.kind == "grammar":
        return []
    if form.kind == "choice":
        choices = json.loads(form.value)
        return [] if text in choices else [("", f"it must be exactly one of {', '.join(map(repr, choices[:20]))}")]
    if form.kind == "regex":
        whole = json.dumps({"pattern": f"^(?:{form.value})$"})
        return [] if _validator(whole).is_valid(text) else [("", f"it must match the pattern {form.value}")]
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return [("", f"it is not valid JSON: {error}")]
    if form.kind == "object":
        return [] if isinstance(value, dict) else [("", "it must be a JSON object")]
    return _differences(text, form.value, value)


def _differences(text: str, schema: str, value: object) -> list[tuple[str, str]]:
    """Where an answer differs from its schema. What could take very long is found out before, and not begun."""
    validator, work = _checker(schema)
    values = 1 + text.count(",") + text.count("{") + text.count("[")
    is_small = not work.multiplies and work.size * values <= MOST_TOLD
    needed = 0 if is_small else work.of(value, MOST_WORK)
    if needed > MOST_WORK:
        return [("", "it is too large, or nested too deeply, to be checked against its schema: write less")]
    if validator.is_valid(value):
        return []
    if needed > MOST_TOLD:
        return [("", "it does not match its schema")]
    found = []
    for one in validator.iter_errors(value):
        found.append(("".join(f"/{step}" for step in one.instance_path), one.message[:300]))
        if len(found) == MAX_PROBLEMS:
            break
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
