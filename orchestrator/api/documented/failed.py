"""What an error says, and what each status means here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from orchestrator.api.documented.shapes import Told


class Fault(Told):
    """What went wrong; `message` says what to do about it."""

    message: str
    type: Literal[
        "authentication_error", "insufficient_quota", "invalid_request_error", "not_found_error", "permission_error",
        "rate_limit_error", "server_error",
    ]  # fmt: skip
    param: str | None
    """The field that is at fault."""
    code: str


class Failure(Told):
    """An error in OpenAI's form."""

    error: Fault
    rightsize: dict[str, Any] | None = None
    """Of a request that was run and failed: where, how often, and what it cost; answers that were not accepted are paid."""


MEANINGS: Final[Mapping[int, str]] = {
    400: "The request's form or content is wrong (`invalid_request`); `param` names the field.",
    401: "No API key, or one that is unknown, revoked or expired (`invalid_api_key`).",
    402: "It could cost more than what is left of a budget (`budget_exhausted`).",
    403: "The key may not do that (`insufficient_scope`).",
    404: "There is no such thing of the caller's (`not_found`), or no such model (`model_not_found`).",
    408: "The body came too slowly (`request_timeout`).",
    409: "The state of the thing does not allow it (`conflict`), or the Idempotency-Key came with another request "
    "(`idempotency_conflict`). Sending it again does not help: `x-should-retry: false`.",
    413: "The body is over a limit that the message names (`request_too_large`).",
    415: "The body comes in a form that is not read (`unsupported_media_type`).",
    416: "The Range asks for none of the file's bytes (`range_not_satisfiable`).",
    422: "No model of the fleet can serve the request within its bounds (`tier_unavailable`).",
    429: "More than a quota allows (`rate_limit_exceeded`), or too much is queued or waited for already (`backpressure`).",
    499: "The caller hung up before the answer was there; nobody reads this.",
    500: "A fault of ours (`internal_error`); the message has its id.",
    502: "The model failed after all its attempts; `code` says how.",
    503: "A server that is needed does not answer (`service_unavailable`), or the model is too busy.",
    504: "No answer came in time (`timeout`); the request was cancelled.",
}

REQUEST_ID: Final = "x-request-id"
JOB: Final = "x-rightsize-job"


def _text(description: str, *, required: bool = False) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    REQUEST_ID: _text("The id of this response.", required=True),
    "x-should-retry": _text("`false` where the official clients shall not send the request again."),
    "Retry-After": _text("Seconds after which to try again."),
    "WWW-Authenticate": _text("`Bearer`.", required=True),
    "Content-Range": _text("Which bytes of how many.", required=True),
    JOB: _text("The job that holds the request and its answer: `GET /v1/jobs/{job_id}`."),
    **{
        f"x-ratelimit-{what}-{kind}": _text(f"{told} of {kind} a minute, where a quota is set.")
        for kind in ("requests", "tokens")
        for what, told in (("limit", "The quota"), ("remaining", "What is left"), ("reset", "When all is back"))
    },
}
"""Headers of responses by name."""
RATES: Final = tuple(name for name in HEADERS if name.startswith("x-ratelimit-"))
OF_STATUS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    409: ("x-should-retry",),
    416: ("Content-Range",),
    429: ("Retry-After", "x-should-retry", *RATES),
    502: (JOB, "x-should-retry"),
    503: ("Retry-After", JOB, "x-should-retry"),
    504: (JOB, "x-should-retry"),
}
"""The headers of errors, beside the id that all have."""


def name_of(status: int) -> str:
    """What the response of a status is called among the document's components."""
    return f"Error{status}"


def error_responses() -> dict[str, Any]:
    """Every error response, to be put among the document's components."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
    return {
        name_of(status): {
            "description": meaning, "headers": headers(*OF_STATUS.get(status, ())), **({} if status == 499 else {"content": content}),
        }
        for status, meaning in MEANINGS.items()
    }  # fmt: skip


def headers(*names: str) -> dict[str, Any]:
    """References to headers; the id of a response is always among them."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (REQUEST_ID, *names)}
