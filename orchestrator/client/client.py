"""The synchronous client. Everything that is large goes through in pieces."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote

import orjson

from orchestrator.client.administration import Administration
from orchestrator.client.lines import LineFile, lines_of
from orchestrator.client.transport import Transport
from orchestrator.errors import Busy, InvalidRequest

ENDED: Final = frozenset({"failed", "completed", "expired", "cancelled"})
CHAT: Final = "/v1/chat/completions"
FIRST_LOOK_S: Final = 0.05
MOST_LOOK_S: Final = 2.0
AWAY_AT_MOST_S: Final = 300.0
"""How long a wait bears a service that does not answer."""

Thing = dict[str, Any]
"""A JSON object as the API gave it."""


class Rightsize:
    """A Rightsize service: `with Rightsize("http://127.0.0.1:8000", key) as rightsize: ...`.

    Every method raises errors of `orchestrator.errors`: ServiceUnavailable where the service does not answer, otherwise the
    class that the service itself raised. A URL or key that cannot be one is refused at once, by `Refused`. `on_wait` is
    told once, with the reason, when a service that does not answer is being tried again for a while.
    """

    def __init__(
        self, base_url: str, api_key: str, timeout_s: float = 60.0, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        self._transport = Transport(base_url, api_key, timeout_s, on_wait)
        self.admin = Administration(self._transport)

    def upload(
        self, content: str | os.PathLike[str] | Iterable[bytes], *, filename: str | None = None, purpose: str = "batch"
    ) -> Thing:
        """Upload a file by its path, or lines as they are made; neither is ever in memory whole. Returns the file object."""
        if isinstance(content, (str, os.PathLike)):
            path = Path(content)
            try:
                with path.open("rb") as file:
                    return self._upload(filename or path.name, purpose, file)
            except FileNotFoundError:
                raise InvalidRequest(f"There is no file {path}.") from None
            except (IsADirectoryError, PermissionError) as error:
                raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
        return self._upload(filename or "input.jsonl", purpose, LineFile(content))

    def _upload(self, filename: str, purpose: str, file: Any) -> Thing:
        sendable = filename.encode("utf-8", "replace").decode()  # names of files need not be text
        return self._transport.upload("/v1/files", {"purpose": purpose}, (sendable, file))

    def file(self, file_id: str) -> Thing:
        """A file's object."""
        return self._transport.call("GET", _path("files", file_id), again=True)

    def content(self, file_id: str) -> Iterator[bytes]:
        """A file's bytes, piece by piece."""
        with self._transport.reading(_path("files", file_id, "content")) as response:
            yield from response.iter_bytes()

    def create_batch(
        self, input_file_id: str, *, endpoint: str = CHAT, completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None, rightsize: Mapping[str, Any] | None = None, key: str | None = None,
    ) -> Thing:  # fmt: skip
        """Make a batch of an uploaded file. A lost answer makes no second one: the request carries an idempotency key.

        `rightsize` holds hints for every row, `max_cost_usd` for the whole, and `on_invalid_row` (fail or report).
        """
        body = {
            "input_file_id": input_file_id, "endpoint": endpoint, "completion_window": completion_window,
            "metadata": metadata, "rightsize": rightsize,
        }  # fmt: skip
        return self._transport.call("POST", "/v1/batches", body=body, key=key or uuid.uuid4().hex, again=True)

    def batch(self, batch_id: str) -> Thing:
        """A batch's object."""
        return self._transport.call("GET", _path("batches", batch_id), again=True)

    def batches(self, *, page: int = 100) -> Iterator[Thing]:
        """Every batch of the project, the newest first."""
        after = None
        while True:
            found = self._transport.call("GET", "/v1/batches", query={"after": after, "limit": page}, again=True)
            yield from found["data"]
            if not found["has_more"]:
                return
            after = found["last_id"]

    def cancel(self, batch_id: str) -> Thing:
        """Cancel a batch; cancelling twice is fine."""
        return self._transport.call("POST", _path("batches", batch_id, "cancel"), again=True)

    def wait(
        self, batch_id: str, on_progress: Callable[[Thing], None] | None = None, *, within_s: float | None = None
    ) -> Thing:
        """Wait until a batch has ended, and return it; `on_progress` sees it on every look.

        A service that is away in between is waited for. After `within_s` the batch comes back as it stands then.
        """
        give_up = None if within_s is None else time.monotonic() + within_s
        pause_s = FIRST_LOOK_S
        heard = time.monotonic()
        while True:
            try:
                batch = self.batch(batch_id)
                heard = time.monotonic()
            except Busy:
                now = time.monotonic()
                if now - heard > AWAY_AT_MOST_S or (give_up is not None and now > give_up):
                    raise
                time.sleep(MOST_LOOK_S)
                continue
            if on_progress is not None:
                on_progress(batch)
            late = give_up is not None and time.monotonic() > give_up
            if batch["status"] in ENDED or late:
                return batch
            time.sleep(pause_s)
            pause_s = min(MOST_LOOK_S, 1.3 * pause_s)

    def results(self, batch: Thing | str) -> Iterator[Thing]:
        """Every line of a batch's output file, then of its error file; none where it has none yet."""
        found = self.batch(batch) if isinstance(batch, str) else batch
        for file_id in (found.get("output_file_id"), found.get("error_file_id")):
            if file_id:
                yield from self.lines(file_id)

    def lines(self, file_id: str) -> Iterator[Thing]:
        """Every line of a JSONL file."""
        for line in lines_of(self.content(file_id)):
            yield cast("Thing", orjson.loads(line))

    def submit_job(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, deadline: str = "24h", key: str | None = None
    ) -> Thing:
        """Hand in one request to be answered later; returns the job, whose `id` reads it."""
        wanted = {"endpoint": endpoint, "body": body, "deadline": deadline}
        return self._transport.call("POST", "/v1/jobs", body=wanted, key=key or uuid.uuid4().hex, again=True)

    def job(self, job_id: str) -> Thing:
        """A job: its state, route with reasons, attempts, charges, and its result once there is one."""
        return self._transport.call("GET", _path("jobs", job_id), again=True)

    def cancel_job(self, job_id: str) -> Thing:
        """Cancel a job that has not ended."""
        return self._transport.call("POST", _path("jobs", job_id, "cancel"), again=True)

    def complete(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> Thing:
        """Send one request and wait for its answer; not sent again by itself, since it may have been answered."""
        return self._transport.call("POST", endpoint, body=body)

    def explain(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> Thing:
        """Why a request would go where, and what every model would cost and take; nothing is run."""
        return self._transport.call("POST", "/v1/explain", body={"endpoint": endpoint, "body": body}, again=True)

    def cost(self, by: str = "tier", *, batch: str | None = None) -> Thing:
        """Charges and costs by batch, tier, model or day; sums are decimal texts, exact to the last digit."""
        return self._transport.call("GET", "/v1/cost", query={"by": by, "batch": batch}, again=True)

    def machines(self) -> list[Thing]:
        """What the machines that are priced by the hour did and cost, by model; only who runs the service sees it."""
        found = self._transport.call("GET", "/v1/cost/machines", again=True)
        return cast("list[Thing]", found["data"])

    def models(self) -> list[Thing]:
        """Every name that `model` may have."""
        found = self._transport.call("GET", "/v1/models", again=True)
        return cast("list[Thing]", found["data"])

    def ready(self) -> Thing:
        """Whether the service can serve: `{"status": "ok" or "unavailable", "checks": {...}}`."""
        _, found = self._transport.status("/readyz")
        return found or {"status": "unavailable", "checks": {"api": "It answered something that is not JSON."}}

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _path(kind: str, thing: str, *more: str) -> str:
    """The path of a thing; whatever an id holds, it stays one part of it."""
    return "/".join(["/v1", kind, quote(thing, safe="", errors="replace"), *more])
