"""The engine that runs vLLM inside the worker: one `AsyncLLM` a process, on the process's one loop.

vLLM's scheduler and model run in a child process of their own. A request that is cancelled, late or aborted is aborted
there too. When that child dies or takes no step for `hang_s`, every request ends as `engine_dead` and the worker leaves.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.fleet import Model
from orchestrator.requests import CHAT, EMBEDDINGS, POOLING
from orchestrator.telemetry import log
from workers.engines._vllm.adapters import Adapters
from workers.engines._vllm.calls import ENDED, Calls
from workers.engines._vllm.params import reason
from workers.engines._vllm.prompt import NO_TEMPLATE, Prompts
from workers.engines._vllm.start import engine_config
from workers.engines.base import Cache, Chunk, Engine, EngineLimits, EngineRequest, Health, Load, bad_request
from workers.engines.running import Runs

COMPLETIONS: Final = "/v1/completions"
_LOADING_S: Final = 10.0
"""So often loading says that it goes on."""
_LOOK_S: Final = 1.0
_CLOSE_S: Final = 20.0
"""How long vLLM's process may take to end before it is killed: with several GPUs it has connections among them to undo."""


def open_engine(model: Model, _blobs: Path) -> Engine:
    """The engine of a model whose weights vLLM loads."""
    return VLLMEngine(model)


class VLLMEngine:
    """Runs requests on one model of vLLM."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._runs = Runs()
        self._llm: Any = None
        self._reports: Any = None
        self._watch: asyncio.Task[None] | None = None
        self._dead: str | None = None
        self._endpoints: frozenset[str] = frozenset()
        self._modalities: frozenset[str] = frozenset()
        self._chats: Any = None
        self._pools: Any = None
        self._prompts: Prompts

    async def load(self) -> None:
        """Load the weights and answer one request, so that the engine is warm; raises InvalidConfig with vLLM's reason."""
        started = time.monotonic()
        loading = asyncio.ensure_future(asyncio.to_thread(self._make))
        while not loading.done():
            await asyncio.wait([loading], timeout=_LOADING_S)
            if not loading.done():
                log("engine_loading", model=self._model.name, seconds=round(time.monotonic() - started))
        try:
            loading.result()
            adapters = Adapters(self._model)
            await self._learn(Calls(self._llm, adapters, self._died))
            await adapters.load(self._llm)
            await self._warm()
        except InvalidConfig:
            raise
        except Exception as error:
            await self.close()
            raise InvalidConfig(f"models.{self._model.name} cannot be loaded. vLLM says: {reason(error)}") from error
        self._watch = asyncio.create_task(self._watched())

    def _make(self) -> None:
        if not self._model.path:
            raise InvalidConfig(f"models.{self._model.name} needs `path`.")
        if importlib.util.find_spec("vllm") is None:
            raise InvalidConfig(f"models.{self._model.name} needs vLLM. Run: pip install 'rightsize[gpu]'")
        chosen = engine_config(self._model)
        from vllm.v1.engine.async_llm import AsyncLLM

        from workers.engines._vllm.load import Reports

        self._reports = Reports()
        self._llm = AsyncLLM.from_vllm_config(chosen, stat_loggers=[self._reports.of_scheduler])

    async def _learn(self, calls: Calls) -> None:
        """What this model can do, as vLLM tells."""
        tasks = await self._llm.get_supported_tasks()
        config = self._llm.model_config
        processor = getattr(self._llm.renderer, "mm_processor", None) if config.is_multimodal_model else None
        self._modalities = frozenset(processor.info.supported_mm_limits) if processor is not None else frozenset()
        self._prompts = Prompts(
            self._llm.get_tokenizer(),
            self._llm.renderer,
            sees="image" in self._modalities,
            hears="audio" in self._modalities,
        )
        found = set()
        if "generate" in tasks:
            found.add(COMPLETIONS)
            if self._prompts.has_template:
                found.add(CHAT)
        if not found:
            from workers.engines._vllm.pooling import Pools

            self._pools = Pools(self._model, self._prompts, calls.encode, self._llm, tasks)
            found |= self._pools.endpoints
        self._endpoints = frozenset(found & set(self._model.endpoints) if self._model.endpoints else found)
        if missing := sorted(set(self._model.endpoints) - found):
            served = ", ".join(sorted(found)) or "none that is known here"
            raise InvalidConfig(
                f"models.{self._model.name}.endpoints names {missing[0]}, which this model does not serve. It serves {served}."
            )
        if "generate" in tasks:
            from workers.engines._vllm.chat import Chats

            self._chats = Chats(self._model, self._prompts, calls.generate, config.max_model_len, self.revision)
        if self._model.reasoning is not None and CHAT not in found:
            raise ValueError(f"the model has a table `reasoning`, but no chat template to think by. {NO_TEMPLATE}")

    async def _warm(self) -> None:
        """One short request of the kind that the model serves."""
        if self._chats is not None:
            await self._chats.warm()
        elif self._pools.endpoints:
            await self._pools.warm(EngineRequest("warm", EMBEDDINGS, {}, None, 600.0))

    @property
    def revision(self) -> str:
        """Which weights these are: the folder's or the hub's name and revision, and vLLM's release."""
        import vllm

        config = self._llm.model_config
        name = Path(config.model).name if Path(config.model).exists() else config.model
        return f"{name}@{config.revision or 'local'}+vllm-{vllm.__version__}"[:200]

    async def perform(self, request: EngineRequest) -> Answer:
        """Run one request to its answer."""
        return self._named(request, await self._performed(request))

    async def _performed(self, request: EngineRequest) -> Answer:
        self._check(request)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            if request.endpoint in POOLING:
                pooled: Answer = await run.step(self._pools.answer(request, self.revision))
                return pooled
            answer: Answer = await run.step(self._chats.answer(request))
            return answer

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Run one request and yield its pieces as vLLM's steps write them."""
        self._check(request)
        if request.endpoint in POOLING:
            answer = await self.perform(request)
            yield Chunk([], answer.usage, answer, answer.model_revision)
            return
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            async with aclosing(self._chats.stream(request)) as chunks:
                while (chunk := await run.step(anext(chunks, None))) is not None:
                    yield chunk if request.adapter is None else self._chunk_named(request, chunk)

    async def abort(self, job_id: str) -> None:
        """Stop a request that is running; unknown ids are ignored."""
        self._runs.abort(job_id)

    def limits(self) -> EngineLimits:
        """What vLLM was started with."""
        config = self._llm.vllm_config
        return EngineLimits(
            slots=config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size,
            max_input_tokens=config.model_config.max_model_len,
            context=config.model_config.max_model_len,
            max_output_tokens=self._model.max_output_tokens,
            streams=True,
            endpoints=self._endpoints,
            images="image" in self._modalities,
            audio="audio" in self._modalities,
            structured=self._chats is not None,
            seeds=not _is_cpu(),
            queues=True,
            cache=_cache(config, self._prompts) if self._chats is not None else None,
        )

    def load_now(self) -> Load | None:
        """What its scheduler said after the last step."""
        load: Load | None = self._reports.load() if self._reports is not None else None
        return load

    async def health(self) -> Health:
        """Whether the engine's process lives and takes steps."""
        if self._dead is not None:
            return Health(ready=False, detail=self._dead)
        if self._llm is None or self._runs.closed:
            return Health(ready=False, detail="not loaded" if self._llm is None else "closed")
        return Health(ready=True, detail=f"{self.revision} is warm")

    async def close(self) -> None:
        """Abort what still runs, and end the engine's process."""
        await self._runs.close()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self._llm is not None:
            self._tell()
            # Before its process ends: who still listens to it then writes that it died, with a traceback.
            if (listener := self._llm.output_handler) is not None:
                listener.cancel()
            await asyncio.to_thread(self._llm.shutdown, _CLOSE_S)

    def _tell(self) -> None:
        """Say what the engine did since it was loaded: whether its memory and its slots fit what it was asked."""
        seen, cache = self._reports, self._llm.vllm_config.cache_config
        if seen.load() is None:
            return
        median_s, late_s = seen.times.percentile(0.5), seen.times.percentile(0.99)
        log(
            "engine_closed",
            model=self._model.name,
            requests=seen.total("finished"),
            preemptions=seen.total("preemptions"),
            steps=seen.total("steps"),
            step_ms_p50=median_s and round(1000 * median_s, 2),
            step_ms_p99=late_s and round(1000 * late_s, 2),
            prefix_hits=round(seen.total("prefix_hits") / max(1, seen.total("prefix_queries")), 3),
            kv_blocks=cache.num_gpu_blocks,
            kv_block_tokens=cache.block_size,
        )

    def _named(self, request: EngineRequest, answer: Answer) -> Answer:
        """The answer with the adapter in its revision: other weights wrote it."""
        if request.adapter is None:
            return answer
        return replace(answer, model_revision=f"{answer.model_revision}+{request.adapter}"[:200])

    def _chunk_named(self, request: EngineRequest, chunk: Chunk) -> Chunk:
        """The same for a piece of it."""
        answer = chunk.answer and self._named(request, chunk.answer)
        return replace(chunk, answer=answer, model_revision=f"{chunk.model_revision}+{request.adapter}"[:200])

    def _check(self, request: EngineRequest) -> None:
        if self._dead is not None:
            raise self._death()
        if request.endpoint not in self._endpoints:
            served = ", ".join(sorted(self._endpoints)) or "nothing that is asked for over this API"
            code = (
                "no_chat_template"
                if request.endpoint == CHAT and COMPLETIONS in self._endpoints
                else "unsupported_endpoint"
            )
            remedy = f" {NO_TEMPLATE}" if code == "no_chat_template" else ""
            raise bad_request(f"This model does not serve {request.endpoint}. It serves {served}.{remedy}", code)
        if request.body.get("seed") is not None and _is_cpu():
            message = (
                "`seed` is not served by vLLM on a CPU: it can end the engine. Leave it out, or use a model on a GPU."
            )
            raise bad_request(message, "unsupported_parameter")

    async def _watched(self) -> None:
        """See that the engine lives, and that it takes steps while it has something to do."""
        hang_s = self._model.hang_s
        while self._dead is None:
            await asyncio.sleep(_LOOK_S)
            if self._llm.errored:
                self._died(ENDED)
            elif not self._llm.get_num_unfinished_requests():
                self._reports.rest()
            elif self._reports.quiet_s() > hang_s:
                self._died(f"vLLM has taken no step for {hang_s:g} s, with requests to run.")

    def _died(self, why: str) -> EngineFault:
        """Take in that the engine is dead, and end every request with the fault that is returned."""
        if self._dead is None:
            self._dead = why
            log("engine_dead", logging.WARNING, model=self._model.name, detail=why)
            self._runs.abort_all(self._death)
        return self._death()

    def _death(self) -> EngineFault:
        return EngineFault(self._dead or "The engine is dead.", code="engine_dead", retryable=True, http_status=503)


def _cache(config: Any, prompts: Prompts) -> Cache | None:
    """The key-value cache of a model that writes; None where a request does not take as much of it as it has tokens."""
    model, cache = config.model_config, config.cache_config
    uneven = model.is_hybrid or model.is_attention_free or model.get_sliding_window() is not None
    if uneven or not cache.num_gpu_blocks or config.parallel_config.data_parallel_size > 1:
        return None
    block = cache.block_size
    return Cache(cache.num_gpu_blocks * block, block, lambda text: len(prompts.encode(text)))


def _is_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())
