"""What a task is: instructions, the form of its answers, what they are held to, and where they may be given. Pure.

A definition is immutable: editing a task makes a new version, known by the digest of its canonical JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.contracts import Stakes, Tier
from orchestrator.errors import InvalidRequest, quoted
from orchestrator.hints import LEAST_USD, TASK_NAME
from orchestrator.structured import checked_schema
from orchestrator.tasks.checks import Check

MAX_INSTRUCTIONS: Final = 100_000
MAX_EXAMPLES: Final = 50
MAX_CHECKS: Final = 100
MAX_DEFINITION_BYTES: Final = 1024 * 1024
PLACE: Final = re.compile(r"\{\{\s*([a-z][a-z0-9_]{0,31})\s*\}\}")
"""Where the value of a parameter stands in instructions: `{{labels}}`."""

Reduce = Literal["concat", "merge-fields", "vote", "tree"]
"""How the answers to the pieces of a long document become one."""
Text = Annotated[str, Field(max_length=MAX_INSTRUCTIONS)]


class Strict(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(Strict):
    """A document's text, and the answer that is wanted for it."""

    input: Annotated[str, Field(min_length=1, max_length=MAX_INSTRUCTIONS)]
    output: Any


class Limits(Strict):
    """What one document may take."""

    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_cost_usd: Annotated[str, Field(pattern=r"^[0-9]{1,7}(\.[0-9]{1,12})?$")] | None = None
    max_pages: Annotated[int, Field(ge=1, le=100_000)] | None = None


class Reading(Strict):
    """How its documents are read."""

    ocr_confidence: Annotated[float, Field(ge=0, le=1)] = 0.97
    """A scanned page that was read less surely than this goes to a model with eyes."""
    needs_eyes: bool = False
    """Whether layout, charts or pictures matter: then every page that is no plain text goes to a model with eyes."""


class Splitting(Strict):
    """How a document that is too long for a model becomes pieces, and how their answers become one."""

    reduce: Reduce = "concat"
    overlap_tokens: Annotated[int, Field(ge=0, le=4_000)] = 0
    max_tokens: Annotated[int, Field(ge=200, le=1_000_000)] | None = None
    """Of one piece; what the model holds where it says nothing."""


class Review(Strict):
    """Which fields go to people."""

    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class Task(Strict):
    """A named kind of work."""

    name: Annotated[str, Field(pattern=f"^{TASK_NAME.pattern}$")]
    description: Annotated[str, Field(max_length=2_000)] = ""
    instructions: Text
    inputs: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    """Kinds of documents that it takes; any where it names none."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema 2020-12 of its answers; free text where there is none."""
    examples: Annotated[tuple[Example, ...], Field(max_length=MAX_EXAMPLES)] = ()
    stakes: Stakes | None = None
    quality_target: Annotated[float, Field(gt=0, lt=1)] | None = None
    tiers: tuple[Tier, ...] = ()
    """Where it may be answered; anywhere where it names none."""
    escalate: bool = True
    """Whether an answer that has not its form, after it was mended once, is asked of the next tier."""
    checks: Annotated[tuple[Check, ...], Field(max_length=MAX_CHECKS)] = ()
    limits: Limits = Limits()
    reading: Reading = Reading()
    splitting: Splitting = Splitting()
    review: Review = Review()
    parameters: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    """What must be given with each batch, such as `labels`."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if unknown := set(PLACE.findall(self.instructions)) - set(self.parameters):
            raise ValueError(f"instructions name {quoted(unknown)}, which stands not in `parameters`")
        if len(set(self.tiers)) < len(self.tiers):
            raise ValueError("tiers names one of them twice")
        if self.checks and self.output_schema is None and "schema" not in self.parameters:
            raise ValueError("checks are for fields: give an output_schema")
        has_fields = self.output_schema is not None or "schema" in self.parameters
        if self.splitting.reduce == "merge-fields" and not has_fields:
            raise ValueError(
                "splitting.reduce merge-fields is for fields: give an output_schema, or choose concat or tree"
            )
        if self.limits.max_cost_usd is not None and 0 < float(self.limits.max_cost_usd) < float(LEAST_USD):
            raise ValueError("limits.max_cost_usd is below the ledger's last digit")
        return self

    @property
    def canonical(self) -> str:
        """Its JSON, in which equal definitions are equal text; without what people alone read."""
        told = self.model_dump(mode="json", exclude={"description", "name"})
        return json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """What a version is known by: 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def task_from(raw: object, where: str = "The task") -> Task:
    """A checked task from the table of a file or of a request; raises InvalidRequest that names the key and the remedy."""
    if not isinstance(raw, Mapping):
        raise InvalidRequest(f"{where} must be a table with name, instructions and so on.", param="task")
    try:
        text = json.dumps(raw)
        task = Task.model_validate_json(text, strict=True)  # no text for a number
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        hint = f" Known keys: {', '.join(Task.model_fields)}." if first["type"] == "extra_forbidden" else ""
        raise InvalidRequest(
            f"{where}: {key + ': ' if key else ''}{message.rstrip('.')}.{hint}", param=key or "task"
        ) from None
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest(f"{where} holds something that is no JSON value.", param="task") from None
    if len(text) > MAX_DEFINITION_BYTES:
        raise InvalidRequest(
            f"{where} is over {MAX_DEFINITION_BYTES // 1024:,} KiB. Make its examples or schema smaller.", param="task"
        )
    if task.output_schema is not None and not task.parameters:  # otherwise once they are given
        checked_schema(task.output_schema, "output_schema")
    return task
