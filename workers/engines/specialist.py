"""The engine for specialists: real small classifiers on CPU, one for each task that `rightsize train` was run for.

A chat completion is answered by the label of its last user message; the label's probability stands beside it as
`rightsize_confidence`, the score by which it is accepted as `rightsize_score`, and how familiar the text is as `rightsize_familiarity`. Requests that arrive in one turn of the loop, or while an inference runs, are predicted together in
one pass, interactive ones before bulk work, on one thread of the engine's own: it takes one core, whatever the machine has,
since nothing in a pass calls a library that starts threads. A task's specialist is loaded when it is first asked for, and again when a newer one became current; a version that a request names is
loaded beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.contracts import FAMILIARITY, SCORE, Answer, Usage
from orchestrator.errors import EngineFault, InvalidConfig, NotFound, RightsizeError
from orchestrator.fleet import Model
from orchestrator.learned.terms import MAX_TEXT_CHARS
from workers.engines.assembly import as_pieces
from workers.engines.base import Chunk, Engine, EngineLimits, EngineRequest, Health, Load
from workers.engines.prompt import estimate_tokens, last_user_text
from workers.engines.running import Runs

if TYPE_CHECKING:
    from orchestrator.learned.classifier import Specialist
    from orchestrator.learned.prediction import Prediction

ENDPOINTS: Final = frozenset({"/v1/chat/completions"})
_LOOK_EVERY_S: Final = 1.0
"""How often the engine looks whether a task has a newer specialist, at most."""
_BATCH: Final = 512
"""Rows of one inference, at most: a whole dispatch of tickets, in about 40 ms."""
_BATCH_OF_VECTORS: Final = 64
"""Rows of one inference of a specialist that looks at sentence vectors: about 150 ms, so that nobody waits longer behind bulk work."""
_MOST_NAMED: Final = 64
"""Versions asked for by name that are kept in memory, at most."""
_BATCH_CHARS: Final = 200_000
"""Characters of one inference, at most, unless a single text has more: so that nobody waits long behind long texts."""


def open_engine(model: Model, blobs: Path) -> Engine:
    """The engine of all specialists under the blob folder, or under `models.NAME.path` where that is given."""
    return SpecialistEngine(model, Path(model.path) if model.path else blobs)


Which = tuple[str, str | None]
"""A task, and the version of its specialist that is to answer: None is the current one."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A specialist in memory, and when it was last looked at."""

    specialist: Specialist
    version: str
    stamp: int
    """Of `current.json`, in nanoseconds; 0 for a version that was asked for by name."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One request that waits for its inference."""

    which: Which
    text: str
    interactive: bool
    done: asyncio.Future[tuple[Prediction, str]]


class SpecialistEngine:
    """Predicts in batches on one thread; all its bookkeeping of specialists happens on that thread."""

    def __init__(self, model: Model, blobs: Path) -> None:
        self._model = model
        self._blobs = blobs
        self._runs = Runs()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"specialist-{model.name}")
        self._waiting: list[_Waiting] = []
        self._serving: asyncio.Task[None] | None = None
        self._loaded: dict[Which, _Loaded] = {}
        self._looked: dict[str, float] = {}

    async def load(self) -> None:
        """Import what predictions need; the specialists themselves are loaded when they are asked for."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, _import_format)
        except ImportError as error:
            message = f"Engine 'specialist' of models.{self._model.name} needs {error.name}: install rightsize[slm]."
            raise InvalidConfig(message) from None

    async def perform(self, request: EngineRequest) -> Answer:
        """The label of one text."""
        which, text = self._read(request)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            waiting = _Waiting(which, text, request.interactive, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            if self._serving is None or self._serving.done():
                self._serving = asyncio.create_task(self._serve())
            prediction, version = await run.step(waiting.done)
        return self._answer(request, prediction, f"{which[0]}@{version}", text)

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """The label of one text, in one piece."""
        answer = await self.perform(request)
        yield Chunk(as_pieces(answer.body), answer.usage, answer, answer.model_revision)

    async def abort(self, job_id: str) -> None:
        """Stop waiting for a request; unknown ids are ignored."""
        self._runs.abort(job_id)

    def limits(self) -> EngineLimits:
        """What the fleet says of the model."""
        model = self._model
        return EngineLimits(
            model.slots, model.max_input_tokens, model.max_output_tokens, streams=True, endpoints=ENDPOINTS
        )

    def load_now(self) -> Load | None:
        """Nothing: it has no queue of its own to tell of."""
        return None

    async def health(self) -> Health:
        """Ready until it is closed; names the tasks that have a specialist."""
        if self._runs.closed:
            return Health(ready=False, detail="closed")
        tasks = await asyncio.get_running_loop().run_in_executor(self._pool, self._tasks)
        return Health(ready=True, detail=f"specialists: {', '.join(tasks) or 'none yet, see `rightsize train`'}")

    async def close(self) -> None:
        """Abort what still waits, and end the thread."""
        await self._runs.close()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, request: EngineRequest) -> tuple[Which, str]:
        if request.endpoint not in ENDPOINTS:
            raise _refused("unsupported_endpoint", f"A specialist serves /v1/chat/completions, not {request.endpoint}.")
        task = request.task
        if not task or (self._model.tasks and task not in self._model.tasks):
            raise _no_specialist(task)
        text = last_user_text(request.body)
        if not text.strip():
            raise _refused("bad_request", "A specialist needs text in the last message of role `user`.")
        if len(text) > MAX_TEXT_CHARS:
            message = (
                f"A specialist reads at most {MAX_TEXT_CHARS:,} characters; the text has {len(text):,}. Send it to llm."
            )
            raise _refused("input_too_long", message)
        return (task, request.specialist), text

    async def _serve(self) -> None:
        """Predict what waits, batch by batch, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            groups: dict[Which, list[_Waiting]] = {}
            for waiting in self._next_batch():
                groups.setdefault(waiting.which, []).append(waiting)
            for which, group in groups.items():
                try:
                    texts = [waiting.text for waiting in group]
                    said, version = await loop.run_in_executor(self._pool, self._predict, which, texts)
                except Exception as error:
                    for waiting in group:
                        if not waiting.done.done():
                            waiting.done.set_exception(_fault(which[0], error))
                    continue
                for waiting, prediction in zip(group, said, strict=False):
                    if not waiting.done.done():
                        waiting.done.set_result((prediction, version))
                self._waiting[:0] = group[len(said) :]

    def _next_batch(self) -> list[_Waiting]:
        """Take the next batch out of what waits: interactive ones first, and none that has ended meanwhile."""
        left = [waiting for waiting in self._waiting if not waiting.done.done()]
        left.sort(key=lambda waiting: not waiting.interactive)
        count = chars = 0
        while count < min(len(left), _BATCH) and (not count or chars + len(left[count].text) <= _BATCH_CHARS):
            chars += len(left[count].text)
            count += 1
        self._waiting = left[count:]
        return left[:count]

    def _answer(self, request: EngineRequest, prediction: Prediction, revision: str, text: str) -> Answer:
        usage = Usage(input_tokens=estimate_tokens(text), output_tokens=_tokens_of(prediction.label))
        message = {"role": "assistant", "content": prediction.label}
        body: dict[str, Any] = {
            "id": f"chatcmpl-{request.job_id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._model.name,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
            },
            "system_fingerprint": revision,
            "rightsize_confidence": round(prediction.confidence, 6),
            SCORE: prediction.score,
            FAMILIARITY: round(prediction.in_scope, 4),
        }
        return Answer(body, usage, revision)

    # What follows runs on the engine's own thread.

    def _predict(self, which: Which, texts: list[str]) -> tuple[list[Prediction], str]:
        """Predictions of the first texts, as many as one inference takes, and the version that made them."""
        loaded = self._current(which[0]) if which[1] is None else self._named(which[0], which[1])
        most = _BATCH if loaded.specialist.encoder is None else _BATCH_OF_VECTORS
        return loaded.specialist.predict(texts[:most]), loaded.version

    def _current(self, task: str) -> _Loaded:
        """The specialist that answers a task now; looks for a newer one at most once a second."""
        held = self._loaded.get((task, None))
        now = time.monotonic()
        if held is not None and now - self._looked[task] < _LOOK_EVERY_S:
            return held
        from orchestrator.learned import specialist as specialists

        try:
            stamp = (specialists.task_folder(self._blobs, task) / "current.json").stat().st_mtime_ns
        except FileNotFoundError:
            self._loaded.pop((task, None), None)
            raise _no_specialist(task) from None
        if held is None or stamp != held.stamp:
            folder = specialists.current_folder(self._blobs, task)
            if folder is None:
                raise _no_specialist(task)
            specialist, record = specialists.load(folder)
            held = self._loaded[task, None] = _Loaded(specialist, record.version, stamp)
        self._looked[task] = now
        return held

    def _named(self, task: str, version: str) -> _Loaded:
        """One version of a task's specialist, which never changes; the one that was asked for longest ago makes room for it."""
        current = self._loaded.get((task, None))
        if current is not None and current.version == version:
            return current
        held = self._loaded.pop((task, version), None)
        if held is None:
            from orchestrator.learned import specialist as specialists

            specialist, record = specialists.load(specialists.version_folder(self._blobs, task, version))
            held = _Loaded(specialist, record.version, 0)
        named = [which for which in self._loaded if which[1] is not None]
        if len(named) >= _MOST_NAMED:
            del self._loaded[named[0]]
        self._loaded[task, version] = held
        return held

    def _tasks(self) -> tuple[str, ...]:
        from orchestrator.learned import specialist as specialists

        return specialists.tasks_with_specialists(self._blobs)


def _import_format() -> None:
    import orchestrator.learned.specialist  # noqa: F401 - numpy comes with it


def _tokens_of(label: str) -> int:
    if label.startswith("{"):  # the values of several fields
        return estimate_tokens(label)
    return 1 if len(label) <= 8 else 2


def _refused(code: str, message: str) -> EngineFault:
    return EngineFault(message, code=code, retryable=False, http_status=400)


def _no_specialist(task: str | None) -> EngineFault:
    if not task:
        return _refused(
            "no_specialist", "The request names no task. Give it one that has a specialist, or send it to llm."
        )
    message = f"Task {task!r} has no specialist here. Train one with `rightsize train {task} --labels FILE.csv`."
    return _refused("no_specialist", message)


def _fault(task: str, error: Exception) -> EngineFault:
    if isinstance(error, EngineFault):
        return EngineFault(
            error.message, code=error.fault_code, retryable=error.retryable, http_status=error.http_status
        )
    if isinstance(error, NotFound):
        return _refused("no_specialist", error.message)
    if isinstance(error, RightsizeError):
        return EngineFault(error.message, code="bad_specialist", retryable=False, http_status=502)
    message = f"The specialist of task {task!r} failed: {type(error).__name__}: {error}."
    return EngineFault(message, code="bad_specialist", retryable=True, http_status=502)
