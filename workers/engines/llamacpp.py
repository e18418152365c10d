"""The engine for small language models on CPU: llama.cpp, with weights in one GGUF file.

llama.cpp runs in a child process and is asked over its own HTTP server, on a socket in a folder that only this user can
open and with a key made up for the occasion. Calling the library in the worker's own process was tried: it holds the
interpreter while it loads and closes, so that the worker's loop and heartbeat stand still; it ends the process on some broken
input; and it cannot be stopped before a prompt has been read. Every request is streamed, because llama.cpp notices only
when it writes that nobody reads any more: between two tokens, and between two batches of the prompt.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.fleet import Model
from orchestrator.telemetry import log
from workers.engines._llamacpp.answer import Choice, Rows, fault_of
from workers.engines._llamacpp.gguf import Weights, read_weights
from workers.engines._llamacpp.options import USUAL_CONTEXT, Options, context_of, options_of, threads_of
from workers.engines._llamacpp.process import LlamaProcess
from workers.engines._llamacpp.request import CHAT, COMPLETIONS, Requests
from workers.engines._llamacpp.thinking import Thinking
from workers.engines.answer_body import Read, Written, chat_answer, completion_answer
from workers.engines.base import Chunk, Engine, EngineLimits, EngineRequest, Health, Load
from workers.engines.growing import Totals
from workers.engines.merged import merged
from workers.engines.running import Runs
from workers.engines.server_answer import checked

EMBEDDINGS: Final = "/v1/embeddings"
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_SAYS_EVERY_S: Final = 10.0
_LOOK_S: Final = 0.5
_DYING_LOOKS: Final = 10
_DYING_LOOK_S: Final = 0.05
_SPARE: Final = 8
"""Connections beside those of twice the slots: for health, and for whoever is just leaving."""


def open_engine(model: Model, _blobs: Path) -> Engine:
    """The engine of a GGUF file."""
    return LlamaEngine(model)


def context_in(path: Path) -> int:
    """Tokens that a request may have, answer included, where the fleet names no other number; raises InvalidConfig for a file that is not whole."""
    return min(read_weights(path, "path").context or USUAL_CONTEXT, USUAL_CONTEXT)


class LlamaEngine:
    """Runs requests on one model, `slots` of them at once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._options: Options = options_of(model)
        self._connections = 2 * model.slots + _SPARE
        self._runs = Runs()
        self._choices = 0
        """Answers that llama.cpp writes or is yet to write for us."""
        self._heard = 0.0
        """When llama.cpp last wrote a line, by the loop's clock."""
        self._watch: asyncio.Task[None] | None = None
        self._process: LlamaProcess | None = None
        self._client: httpx2.AsyncClient | None = None
        self._weights: Weights
        self._context = 0
        self._requests: Requests
        self._thinking: Thinking | None = None
        self._endpoints: frozenset[str] = frozenset()

    async def load(self) -> None:
        """Check the file, start llama.cpp and wait until it is ready; raises InvalidConfig that says why it cannot be."""
        model, options = self._model, self._options
        if importlib.util.find_spec("xllamacpp") is None:
            raise InvalidConfig(f"models.{model.name} needs xllamacpp. Run: pip install 'rightsize[slm]'")
        where = f"models.{model.name}.path"
        self._weights = weights = await asyncio.to_thread(read_weights, Path(model.path or ""), where)
        self._context = context = context_of(model, options, weights)
        self._endpoints = _served(options, weights)
        self._requests = Requests(
            model.name,
            weights.control_tokens,
            model.max_output_tokens,
            raw_prompts=options.control_tokens_in_prompts,
            tools=weights.takes_tools,
        )
        key = secrets.token_urlsafe(32)
        asked = {
            "path": str(weights.path.absolute()), "name": model.name, "key": key, "slots": model.slots,
            "context": context, "threads": threads_of(options), "connections": self._connections,
            "batch": context if options.embeddings else min(options.batch, context),  # an embedding is made in one step
            "gpu_layers": options.gpu_layers, "flash_attention": options.flash_attention,
            "embeddings": options.embeddings, "pools": weights.pools, "reasoning": model.reasoning is not None,
        }  # fmt: skip
        self._process = LlamaProcess()
        try:
            await self._start(self._process, asked)
        except BaseException:
            await self.close()
            raise
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(
                uds=str(self._process.socket),
                # A connection for each request: closing it is what stops the request.
                limits=httpx2.Limits(max_connections=self._connections, max_keepalive_connections=0),
            ),
            base_url="http://llama",
            headers={"Authorization": f"Bearer {key}", "Connection": "close"},
            timeout=None,
            trust_env=False,
        )
        self._watch = asyncio.create_task(self._watched(self._process))
        if model.reasoning is not None and CHAT in self._endpoints:
            self._thinking = Thinking(model, self._requests, context, self._briefly, self._events)
            await self._look()

    async def _look(self) -> None:
        """See how the model thinks; a template that llama.cpp cannot apply is wrong for good."""
        assert self._thinking is not None  # noqa: S101
        try:
            await self._thinking.look()
        except EngineFault as fault:
            await self.close()
            raise InvalidConfig(
                f"models.{self._model.name}: the chat template in {self._weights.path} cannot be applied. {fault.message}"
            ) from None

    async def _watched(self, process: LlamaProcess) -> None:
        """Notice that llama.cpp has ended, or that it writes nothing although it has work, and end every request."""
        loop, hang_s = asyncio.get_running_loop(), self._model.hang_s
        while process.lives:
            await asyncio.sleep(_LOOK_S)
            if self._choices and loop.time() - self._heard > hang_s:
                process.kill()
        log("engine_dead", model=self._model.name, detail=_dead().message)
        self._runs.abort_all(_dead)

    async def _start(self, process: LlamaProcess, asked: dict[str, Any]) -> None:
        """Start the process, and say every few seconds that it still loads."""
        name, began = self._model.name, time.monotonic()
        starting = asyncio.ensure_future(asyncio.to_thread(process.start, asked))
        while not starting.done():
            await asyncio.wait([starting], timeout=min(_SAYS_EVERY_S, self._options.start_s))
            seconds = round(time.monotonic() - began, 1)
            if starting.done():
                break
            log("engine_loading", model=name, seconds=seconds, bytes=self._weights.size)
            if seconds > self._options.start_s:
                raise InvalidConfig(
                    f"models.{name}: llama.cpp has not loaded {self._weights.path} within {self._options.start_s:g} s. "
                    f"Raise models.{name}.llamacpp.start_s, or take a smaller model."
                )
        answer = starting.result()
        if not answer["ready"]:
            raise InvalidConfig(
                f"models.{name}: llama.cpp cannot load {self._weights.path} (architecture "
                f"{self._weights.architecture!r}): {answer['error']} {process.last_words()}".strip()
            )

    async def perform(self, request: EngineRequest) -> Answer:
        """Run one request to its answer."""
        self._check(request)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            return await run.step(
                self._embedded(request) if request.endpoint == EMBEDDINGS else self._answered(request)
            )

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Run one request and yield its pieces as they come; embeddings come whole."""
        if request.endpoint == EMBEDDINGS:
            answer = await self.perform(request)
            yield Chunk([], answer.usage, answer, answer.model_revision)
            return
        self._check(request)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            async with aclosing(self._chunks(request)) as chunks:
                while (chunk := await run.step(anext(chunks, None))) is not None:
                    yield chunk

    def _asked(self, request: EngineRequest) -> list[dict[str, Any]]:
        asked = self._requests.of(request.endpoint, request.body)
        if self._thinking is None or request.endpoint != CHAT:
            return asked
        return [self._thinking.otherwise(request, one) for one in asked]

    async def abort(self, job_id: str) -> None:
        """Stop a request that is running; llama.cpp stops it before its next token or batch."""
        self._runs.abort(job_id)

    def limits(self) -> EngineLimits:
        """What was loaded, and how much of it each slot holds."""
        model = self._model
        return EngineLimits(
            slots=model.slots,
            max_input_tokens=min(model.max_input_tokens, self._context),
            max_output_tokens=min(model.max_output_tokens, self._context),
            context=self._context,
            streams=True,
            endpoints=self._endpoints,
            structured=not self._options.embeddings,
        )

    def load_now(self) -> Load | None:
        """What it runs for us. Each slot has a cache of its own, so that no request is ever interrupted for another."""
        if self._client is None or self._runs.closed:
            return None
        running = min(self._choices, self._model.slots)
        return Load(running=running, waiting=self._choices - running, kv_use=0.0, preemptions=0)

    async def health(self) -> Health:
        """Whether llama.cpp's process lives."""
        if self._process is None or self._client is None or self._runs.closed:
            return Health(ready=False, detail="closed" if self._runs.closed else "not loaded")
        if not self._process.lives:
            return Health(ready=False, detail=_dead().message)
        return Health(ready=True, detail=f"{self._weights.revision} is loaded")

    async def close(self) -> None:
        """Abort what still runs, and end the process."""
        await self._runs.close()
        if self._watch is not None:
            self._watch.cancel()
        if self._client is not None:
            await self._client.aclose()
        if self._process is not None:
            await asyncio.to_thread(self._process.end)

    def _check(self, request: EngineRequest) -> None:
        if request.endpoint not in self._endpoints:
            message = f"This model does not serve {request.endpoint}. It serves {', '.join(sorted(self._endpoints))}."
            if request.endpoint == CHAT and not self._options.embeddings:
                message += " Its file has no chat template: take an instruct model's file for chats."
            raise EngineFault(message, code="unsupported_endpoint", retryable=False, http_status=400)

    async def _answered(self, request: EngineRequest) -> Answer:
        async with aclosing(self._chunks(request)) as chunks:
            answers = [chunk.answer async for chunk in chunks if chunk.answer is not None]
        return answers[0]

    async def _chunks(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """The pieces of all answers as llama.cpp writes them, and the Answer; each prompt counts once, however many answers it has."""
        asked = self._asked(request)
        totals = Totals()
        choices = [Choice(request.endpoint, index, totals) for index in range(len(asked))]
        each = len(choices) if request.endpoint == CHAT else int(request.body.get("n") or 1)
        prompts = [choices[start : start + each] for start in range(0, len(choices), each)]
        revision = self._weights.revision
        async with aclosing(merged(await self._streams(request, asked, choices))) as pieces:
            async for rows in pieces:
                if rows:
                    yield Chunk(rows, totals.usage(furthest_read(prompts), images=0), model_revision=revision)
        written = [await self._counted(choice) for choice in choices]
        make = chat_answer if request.endpoint == CHAT else completion_answer
        answer = make(request, self._model.name, revision, furthest_read(prompts), written)
        yield Chunk([], answer.usage, answer, revision)

    async def _streams(
        self, request: EngineRequest, asked: Sequence[dict[str, Any]], choices: Sequence[Choice]
    ) -> list[AsyncGenerator[Rows, None]]:
        """The pieces of each choice."""
        thinking = self._thinking
        if thinking is not None and thinking.takes(request):
            prompt = await thinking.prompt(request)
            return [thinking.written(prompt, request, choice) for choice in choices]
        return [self._written(request.endpoint, one, choice) for one, choice in zip(asked, choices, strict=True)]

    async def _written(self, endpoint: str, asked: dict[str, Any], choice: Choice) -> AsyncGenerator[Rows, None]:
        async with aclosing(self._events(endpoint, asked)) as events:
            async for event in events:
                yield choice.hear(event)
        choice.end()

    async def _counted(self, choice: Choice) -> Written:
        """The whole choice, with the tokens of a thought that llama.cpp itself told from the answer."""
        written = choice.written()
        if written.thought is not None and not choice.thought_over:
            found = await self._whole("/tokenize", {"content": written.thought, "add_special": False})
            written.thought_tokens = min(len(found.get("tokens", ())), written.tokens)
        return written

    async def _embedded(self, request: EngineRequest) -> Answer:
        asked: dict[str, Any] = {key: request.body[key] for key in ("input", "encoding_format") if key in request.body}
        asked["model"] = self._model.name
        name = self._model.name
        found = await self._whole(EMBEDDINGS, asked)
        answer = checked(request, name, f"models.{name}.path", found, len(json.dumps(asked)))
        return Answer(answer.body, answer.usage, self._weights.revision)

    async def _whole(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            response = await self._http().post(path, json=asked)
        except httpx2.HTTPError as error:
            raise await self._broken_off(error) from None
        found: dict[str, Any] = response.json()
        if response.status_code != 200:
            raise fault_of(found.get("error"))
        return found

    async def _briefly(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """What takes no model, as a part of an answer: it is seen when llama.cpp hangs in it."""
        with self._writing():
            return await self._whole(path, asked)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have it counted that llama.cpp owes us an answer."""
        if not self._choices:
            self._heard = asyncio.get_running_loop().time()  # it had nothing to say until now
        self._choices += 1
        try:
            yield
        finally:
            self._choices -= 1

    async def _events(self, endpoint: str, asked: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one streamed answer. Leaving it closes the connection, and so stops the request."""
        size = 0
        try:
            with self._writing():
                async with self._http().stream("POST", endpoint, json=asked) as response:
                    if response.status_code != 200:
                        raise fault_of(json.loads(await response.aread()).get("error"))
                    async for line in response.aiter_lines():
                        self._heard = asyncio.get_running_loop().time()
                        size += len(line)
                        if size > MAX_ANSWER_BYTES:
                            raise EngineFault(
                                "llama.cpp's answer is too large.", code="answer_too_large", retryable=True
                            )
                        if line.startswith("data: {"):
                            yield json.loads(line[6:])
                        elif line.startswith("error: {"):
                            raise fault_of(json.loads(line[7:]))
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise await self._broken_off(error) from None

    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise EngineFault("The engine is not loaded.", code="engine_closed", retryable=True, http_status=503)
        return self._client

    async def _broken_off(self, error: Exception) -> EngineFault:
        """Whether only the connection broke, or the process ended: its sockets close a moment before it is gone."""
        for _ in range(_DYING_LOOKS):
            if self._process is None or not self._process.lives:
                return _dead()
            await asyncio.sleep(_DYING_LOOK_S)
        message = f"llama.cpp broke off the connection ({type(error).__name__})."
        return EngineFault(message, code="connection_lost", retryable=True)


def _served(options: Options, weights: Weights) -> frozenset[str]:
    if options.embeddings:
        return frozenset({EMBEDDINGS})
    return frozenset({COMPLETIONS, CHAT} if weights.has_template else {COMPLETIONS})


def _dead() -> EngineFault:
    return EngineFault(
        "llama.cpp's process ended, or hung and was ended.", code="engine_dead", retryable=True, http_status=503
    )


def furthest_read(prompts: Sequence[Sequence[Choice]]) -> Read:
    """What llama.cpp read, of each prompt by the answer that has read most of it: another may only have begun with it."""
    furthest = [max(answers, key=lambda choice: choice.read) for answers in prompts]
    return Read(sum(one.read for one in furthest), sum(one.cached for one in furthest))
