"""One error tree. Every message says what to do about it.

RightsizeError
├── Refused                     the caller can change something (4xx)
│   ├── InvalidRequest          400  invalid_request      the request's form or content is wrong
│   ├── InvalidConfig           400  invalid_config       rightsize.toml or a setting is wrong (stops a start)
│   ├── Unauthorized            401  invalid_api_key      no key, or one that is unknown or revoked
│   ├── Forbidden               403  insufficient_scope   the key may not do that
│   ├── BudgetExhausted         402  budget_exhausted     raise the cap or lower what the request may use
│   ├── NotFound                404  not_found            no such batch, job or file of this caller
│   │   └── UnknownModel        404  model_not_found      names the models there are
│   ├── Conflict                409  conflict             the state of the thing does not allow it
│   │   └── IdempotencyConflict 409  idempotency_conflict the same key came with another request
│   ├── TooSlow                 408  request_timeout      the body came too slowly
│   ├── TooLarge                413  request_too_large    over a limit that the message names
│   ├── Unsupported             415  unsupported_media_type  the body comes in a form that is not read
│   ├── TierUnavailable     422  tier_unavailable     no model of the fleet can serve the request
│   └── FilesFull               429  rate_limit_exceeded  no room in the caller's quota of files until some are deleted
├── Busy                        try later (429, 503), `retry_after_s`
│   ├── Backpressure            429  backpressure         too much is queued already
│   ├── OverQuota               429  rate_limit_exceeded  more than the caller's quota in a minute, or at once
│   └── ServiceUnavailable      503  service_unavailable  a server that we need does not answer
│       └── BlobsAway           503  service_unavailable  it is the blob store
├── JobFailed                   502  job_failed           told by the client: the request became a job, and the job failed
├── EngineFault                 what a model or its server did wrong: becomes an outcome, never a traceback
└── Broken                      ours (500): logged once, with an id for the caller
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

MOST_MESSAGE: Final = 4_000
"""Characters of a message: it may quote what a caller sent, and is kept with every row that it is about."""
MOST_PARAM: Final = 200
MOST_NAMES: Final = 10
MOST_NAME: Final = 64


class RightsizeError(Exception):
    """Anything that Rightsize itself raises. What it says is bounded, however long the things are that it quotes."""

    status: int = 500
    code: str = "internal_error"
    """Of a class; an error that the client read from an answer has what the service said."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        if len(message) > MOST_MESSAGE:  # the remedy stands at the end
            message = f"{message[: MOST_MESSAGE - 500]} ... {message[-500:]}"
        self.message = message
        super().__init__(self.message)
        self.param = None if param is None else param[:MOST_PARAM]


class Refused(RightsizeError):
    """The caller can change something and try again."""

    status, code = 400, "invalid_request"


class InvalidRequest(Refused):
    """The request's form or content is wrong."""


class InvalidConfig(Refused):
    """A configuration file or setting is wrong; the message names the key and the remedy."""

    code = "invalid_config"


class Unauthorized(Refused):
    """No API key, or one that is not known or was revoked."""

    status, code = 401, "invalid_api_key"


class Forbidden(Refused):
    """The API key may not do that."""

    status, code = 403, "insufficient_scope"


class BudgetExhausted(Refused):
    """The work could cost more than what is left to spend."""

    status, code = 402, "budget_exhausted"


class NotFound(Refused):
    """The caller has nothing of that name."""

    status, code = 404, "not_found"


class UnknownModel(NotFound):
    """No model or tier has that name."""

    code = "model_not_found"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"No model is called {name!r}. Known: {', '.join(known)}. Add one under [models] in rightsize.toml.",
            param="model",
        )


class Conflict(Refused):
    """The state of the thing does not allow it."""

    status, code = 409, "conflict"


class IdempotencyConflict(Conflict):
    """The same idempotency key came with another request."""

    code = "idempotency_conflict"


class TooSlow(Refused):
    """The request's body came too slowly."""

    status, code = 408, "request_timeout"


class Unsupported(Refused):
    """The body comes in a form that is not read."""

    status, code = 415, "unsupported_media_type"


class TooLarge(Refused):
    """Over a limit that the message names."""

    status, code = 413, "request_too_large"


class TierUnavailable(Refused):
    """No model of the fleet can serve the request within its bounds."""

    status, code = 422, "tier_unavailable"


class FilesFull(Refused):
    """The caller's files fill their quota: no waiting makes room, so that the same request is of no use until some are deleted."""

    status, code = 429, "rate_limit_exceeded"


class Busy(RightsizeError):
    """Nothing is wrong with the request: try again later."""

    status, code = 503, "busy"

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.headers: dict[str, str] = {}
        """What a response says beside it."""


class Backpressure(Busy):
    """Too much is queued already."""

    status, code = 429, "backpressure"


class OverQuota(Busy):
    """More than the caller's quota allows in a minute, or at once."""

    status, code = 429, "rate_limit_exceeded"


class ServiceUnavailable(Busy):
    """A server that we need does not answer."""

    code = "service_unavailable"


class BlobsAway(ServiceUnavailable):
    """The blob store cannot be reached, written or read, or is full."""


class JobFailed(RightsizeError):
    """The request was accepted as a job, and the job failed: its retries are spent, and the same request makes another job.

    `code` is the job's own, such as `bad_request`, `timeout` or `context_length_exceeded`; `job_id` reads all of it.
    """

    status, code = 502, "job_failed"

    def __init__(self, message: str, *, code: str, job_id: str, http_status: int = 502) -> None:
        super().__init__(message)
        self.code = code
        self.job_id = job_id
        self.status = http_status


class EngineFault(RightsizeError):
    """What a model or its server did wrong.

    `retryable` says whether another attempt may succeed; `retry_after_s` is what the server asked for.
    """

    status, code = 502, "engine_fault"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool,
        http_status: int = 502,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.fault_code = code
        self.retryable = retryable
        self.http_status = http_status
        self.retry_after_s = retry_after_s


class Broken(RightsizeError):
    """A fault of ours."""


def quoted(names: Iterable[str]) -> str:
    """Names that a caller gave, in order, as a message quotes them: not all of very many, and not the whole of a long one."""
    given = sorted(names)
    told = ", ".join(repr(name if len(name) <= MOST_NAME else f"{name[:MOST_NAME]}...") for name in given[:MOST_NAMES])
    return told if len(given) <= MOST_NAMES else f"{told} and {len(given) - MOST_NAMES} more"
