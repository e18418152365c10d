"""The simulated engine: no model at all, and every answer says so.

Latency, token counts and accuracy are drawn from the options under `[models.NAME.simulate]`, always the same for one
job id and seed. It can be told to fail in every way that a model can (`_simulated/options.py`), for tests.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from orchestrator.fleet import Model
from orchestrator.requests import ENDPOINTS
from workers.engines._simulated.answer import Voice, draws
from workers.engines._simulated.options import WAITING_KINDS, Failure, Markers, fault_of, markers_in, options_from
from workers.engines.assembly import as_pieces
from workers.engines.base import Chunk, Engine, EngineLimits, EngineRequest, Health, Load
from workers.engines.prompt import prompt_text
from workers.engines.running import Run, Runs

_COUNTED_JOBS: Final = 100_000
_MOST_PIECES: Final = 2_000
"""Of one answer: a longer one comes in larger pieces than words."""
_WORD: Final = re.compile(r"\s*\S+|\s+")
"""With the blanks before it."""


def open_engine(model: Model, _blobs: Path) -> Engine:
    """The simulated engine of a model; raises InvalidConfig for options that are not known or make no sense."""
    return SimulatedEngine(model)


class SimulatedEngine:
    """Answers without a model, after the time that a model would take."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._endpoints = frozenset(model.endpoints) or ENDPOINTS
        self._options = options_from(model.simulate, model.name)
        self._voice = Voice(model.name, self._options)
        self._runs = Runs()
        self._tries: OrderedDict[str, int] = OrderedDict()
        options = self._options
        self._plain = not (options.waits or options.fail or options.obey_markers)

    async def load(self) -> None:
        """Nothing to load."""

    async def perform(self, request: EngineRequest) -> Answer:
        """Answer one request after its simulated time; where nothing waits or fails, at once."""
        if request.endpoint not in self._endpoints:
            raise _unsupported(request.endpoint, self._endpoints)
        if self._plain and not self._runs.closed:
            return self._voice.answer(request)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            text = prompt_text(request.body)
            markers = markers_in(text) if self._options.obey_markers else Markers()
            failure = await self._before(request, run, markers)
            latency_s = self._latency_s(request)
            await self._sleep(run, latency_s + markers.sleep_s)
            if failure and failure.kind != "usage_missing":
                raise fault_of(failure.kind, self._options.retry_after_s)
            return self._timed(self._voice.answer(request, text), latency_s)

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Answer one request word by word, over its simulated time; what is only read comes at its end."""
        if request.endpoint not in self._endpoints:
            raise _unsupported(request.endpoint, self._endpoints)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            text = prompt_text(request.body)
            markers = markers_in(text) if self._options.obey_markers else Markers()
            failure = await self._before(request, run, markers)
            if failure and failure.kind not in ("cut", "usage_missing"):
                raise fault_of(failure.kind, self._options.retry_after_s)
            latency_s = self._latency_s(request)
            answer = self._timed(self._voice.answer(request, text), latency_s)
            pieces = list(_pieces(answer))
            began, takes_s = asyncio.get_running_loop().time(), latency_s + markers.sleep_s
            for place, piece in enumerate(pieces, 1):
                if failure and failure.kind == "cut" and place > len(pieces) // 2:
                    raise fault_of("cut", self._options.retry_after_s)
                await self._until(run, began + takes_s * place / (len(pieces) + 1))
                yield piece
            await self._until(run, began + takes_s)
            yield Chunk([], answer.usage, answer, answer.model_revision, simulated=True)

    async def abort(self, job_id: str) -> None:
        """Stop a request that is running; unknown ids are ignored."""
        self._runs.abort(job_id)

    def limits(self) -> EngineLimits:
        """What the fleet says of the model."""
        model = self._model
        return EngineLimits(
            model.slots,
            model.max_input_tokens,
            model.max_output_tokens,
            streams=True,
            endpoints=self._endpoints,
            images=True,
        )

    def load_now(self) -> Load | None:
        """Nothing: it has no queue of its own to tell of."""
        return None

    async def health(self) -> Health:
        """Ready until it is closed."""
        if self._runs.closed:
            return Health(ready=False, detail="closed")
        speed = "without waiting" if not self._options.waits else f"{self._options.speed:g} times real speed"
        return Health(ready=True, detail=f"simulated, {speed}: no model runs")

    async def close(self) -> None:
        """Abort what still runs."""
        await self._runs.close()

    async def _before(self, request: EngineRequest, run: Run, markers: Markers) -> Failure | None:
        """Die or hang where that is asked for, and say which other failure this attempt ends in."""
        if markers.die:
            os.kill(os.getpid(), signal.SIGKILL)
        failure = self._failure(request.job_id, markers)
        if failure and failure.kind in WAITING_KINDS:
            await run.step(asyncio.get_running_loop().create_future())
        return failure

    def _failure(self, job_id: str, markers: Markers) -> Failure | None:
        candidates: tuple[Failure, ...] = (*((markers.failure,) if markers.failure else ()), *self._options.fail)
        if not candidates:
            return None
        attempt = self._tries.pop(job_id, 0) + 1
        self._tries[job_id] = attempt
        if len(self._tries) > _COUNTED_JOBS:
            self._tries.popitem(last=False)
        drawn = draws(f"{attempt}:{job_id}", self._options.seed)
        for index, failure in enumerate(candidates):
            if (failure.first is None or attempt <= failure.first) and drawn[index % len(drawn)] < failure.rate:
                return failure
        return None

    def _latency_s(self, request: EngineRequest) -> float:
        """Real seconds that the answer takes."""
        if not self._options.waits:
            return 0.0
        low, high = self._options.latency_s
        return (low + draws(request.job_id, self._options.seed)[0] * (high - low)) / self._options.speed

    def _timed(self, answer: Answer, latency_s: float) -> Answer:
        """The answer with the time that it is said to have taken, and how much faster that passed."""
        if latency_s:
            speed = self._options.speed
            answer.body["rightsize_simulated"] = {"latency_s": round(latency_s * speed, 3), "speed": speed}
        return answer

    async def _sleep(self, run: Run, seconds: float) -> None:
        if seconds > 0:
            await run.step(asyncio.sleep(seconds))

    async def _until(self, run: Run, when: float) -> None:
        """Wait for a time of the loop's clock; where it is over already, let others have their turn."""
        await run.step(asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time())))


def _pieces(answer: Answer) -> Iterator[Chunk]:
    """The answer word by word, all its choices together, each piece with what was consumed up to it: the thoughts come first."""
    usage, whole = answer.usage, as_pieces(answer.body)
    if not whole:
        return
    text = _text_of(whole[0])
    words = [found[0] for found in _WORD.finditer(text)] or [""]
    each = -(-len(words) // _MOST_PIECES)
    visible, told = usage.output_tokens - usage.reasoning_tokens, 0
    for start in range(0, len(words), each):
        said = "".join(words[start : start + each])
        told += len(said)
        last = start + each >= len(words)
        rows = [_with_text(row, said, row["finish_reason"] if last else None) for row in whole]
        so_far = usage.reasoning_tokens + (visible if last else -(-visible * told // max(1, len(text))))
        yield Chunk(rows, replace(usage, output_tokens=so_far), None, answer.model_revision, simulated=True)


def _text_of(row: dict[str, Any]) -> str:
    return str(row["delta"]["content"] if "delta" in row else row["text"])


def _with_text(row: dict[str, Any], text: str, finish: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {"delta": {"content": text}} if "delta" in row else {"text": text}
    return {"index": row["index"], **said, "finish_reason": finish}


def _unsupported(endpoint: str, served: frozenset[str]) -> EngineFault:
    return EngineFault(
        f"This model does not serve {endpoint}. It serves {', '.join(sorted(served))}.",
        code="unsupported_endpoint",
        retryable=False,
        http_status=400,
    )
