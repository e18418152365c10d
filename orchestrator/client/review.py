"""Answers at which people look: read, decided, and laid over the results of their batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Self

import orjson

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import Call, Thing, get, path_of
from orchestrator.client.transport import Transport
from orchestrator.contracts import FIELDS

PAGE: Final = 100
Action = Literal["correct", "confirm", "drop"]


def decide_call(review_id: str, action: Action, answer: Any, *, force: bool) -> Call:
    """Decides a review; the same said twice is one decision."""
    body: dict[str, Any] = {"action": action, "force": force}
    if action == "correct":
        body["answer"] = answer
    return Call("POST", path_of("reviews", review_id), body=body, again=True)


def reviewed_path(batch_id: str) -> str:
    """Where those results of a batch are that people corrected or confirmed."""
    return path_of("batches", batch_id, "reviewed")


class Overlay:
    """What people said of the results of a batch, laid over its lines. Pure."""

    def __init__(self, told: Iterable[Thing] = ()) -> None:
        self._told = {str(one["custom_id"]): one for one in told}

    @classmethod
    def is_wanted(cls, batch: Mapping[str, Any]) -> bool:
        """Whether there may be any: a batch without a task that has a definition is of no documents."""
        return (batch.get("rightsize") or {}).get("task_version") is not None

    @classmethod
    def of(cls, batch: Mapping[str, Any], told: Iterable[Thing]) -> Self:
        """That of a batch; nothing is asked where there is none."""
        return cls(told if cls.is_wanted(batch) else ())

    def line(self, line: Thing) -> Thing:
        """A line as it stands now."""
        seen, response = self._told.get(str(line.get("custom_id"))), line.get("response")
        if seen is None or not response:
            return line
        body = _confirmed(response["body"]) if seen["body"] is None else seen["body"]
        ours = {**(line.get("rightsize") or {}), "result_version": seen["result_version"], "reviewed": True}
        return {**line, "response": {**response, "body": body}, "rightsize": ours}

    def raw(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Lines as they stand now; those of which nobody said anything stay as they were written."""
        for line in lines:
            found = orjson.loads(line)
            now = self.line(found)
            yield (line if now is found else orjson.dumps(now)) + b"\n"

    def __bool__(self) -> bool:
        return bool(self._told)


def _confirmed(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body of which a person said that it is right: no field of it is for review any more."""
    fields = {
        pointer: {**one, "review": None, "reviewed": "confirmed"} if one.get("review") else one
        for pointer, one in (body.get(FIELDS) or {}).items()
    }
    return {**body, FIELDS: fields} if fields else dict(body)


class Reviews:
    """Answers at which people look."""

    _transport: Transport

    def reviews(self, task: str, *, state: str = "open") -> Iterator[Thing]:
        """A task's reviews, the oldest first: those that are `open`, or `corrected`, `confirmed` or `dropped`."""
        return self._transport.listed(path_of("tasks", task, "reviews"), PAGE, {"state": state})

    def review(self, review_id: str) -> Thing:
        """A review with the answer as it stands now."""
        return self._transport.answer(get(path_of("reviews", review_id)))

    def decide_review(self, review_id: str, action: Action, answer: Any = None, *, force: bool = False) -> Thing:
        """`correct` an answer by the whole of a better one, `confirm` it, or `drop` it from the list.

        The same said twice is one decision; another one than before needs `force`.
        """
        return self._transport.answer(decide_call(review_id, action, answer, force=force))

    def reviewed(self, batch_id: str) -> Iterator[Thing]:
        """Those results of a batch that people corrected or confirmed; `results` has them in their places already."""
        return self._transport.listed(reviewed_path(batch_id), PAGE)


class AsyncReviews:
    """The same for asynchronous code."""

    _transport: AsyncTransport

    def reviews(self, task: str, *, state: str = "open") -> AsyncIterator[Thing]:
        """A task's reviews, the oldest first; see `Reviews.reviews`."""
        return self._transport.listed(path_of("tasks", task, "reviews"), PAGE, {"state": state})

    async def review(self, review_id: str) -> Thing:
        """A review with the answer as it stands now."""
        return await self._transport.answer(get(path_of("reviews", review_id)))

    async def decide_review(self, review_id: str, action: Action, answer: Any = None, *, force: bool = False) -> Thing:
        """Correct an answer, confirm it, or drop it from the list; see `Reviews.decide_review`."""
        return await self._transport.answer(decide_call(review_id, action, answer, force=force))

    def reviewed(self, batch_id: str) -> AsyncIterator[Thing]:
        """Those results of a batch that people corrected or confirmed."""
        return self._transport.listed(reviewed_path(batch_id), PAGE)
