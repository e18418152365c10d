"""The engine for servers that speak OpenAI's protocol: vLLM, llama.cpp, a gateway, or a provider.

Several servers of one model are its replicas: `replicas.py` chooses one for each request, `replica_watch.py` follows how
they are. A request of which no byte was answered is tried once more on another of them.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.fleet import Model
from orchestrator.requests import CLASSIFY, ENDPOINTS, POOLING, SCORE
from workers.engines._openai.faults import NO_ANSWER, Unreached, none_reached
from workers.engines._openai.http import Wire
from workers.engines._openai.replica_watch import Watch
from workers.engines._openai.replicas import Pace, Replica, Replicas, prefix_of
from workers.engines._openai.stream import Streamed
from workers.engines.assembly import as_pieces
from workers.engines.base import Chunk, Engine, EngineLimits, EngineRequest, Health, Load
from workers.engines.prompt import output_limit
from workers.engines.running import Runs
from workers.engines.server_answer import checked

AT_ROOT: Final = frozenset({CLASSIFY, SCORE})
"""What vLLM serves beside `/v1` and not below it."""
BULK_PRIORITY: Final = 1
"""What vLLM is told of bulk work; interactive work keeps vLLM's own 0, and the lower goes first."""
_NOT_SENT: Final = frozenset({"stream", "stream_options", "priority"})


def open_engine(model: Model, _blobs: Path) -> Engine:
    """The engine of a model behind one or several addresses; raises InvalidConfig when an address cannot be one."""
    return OpenAIEngine(model)


@dataclass(frozen=True, slots=True)
class _Sent:
    """One request on its way: who answers it, and how long its body was."""

    replica: Replica
    response: httpx2.Response
    size: int


class OpenAIEngine:
    """Sends each request to one of a model's servers, and trusts nothing that comes back before it is checked."""

    def __init__(self, model: Model, pace: Pace | None = None) -> None:
        self._model = model
        self._name = model.served_model or model.name
        self._pace = pace or Pace()
        self._replicas = Replicas([Replica(base, key, self._pace) for base, key in _servers(model)])
        self._wire: Wire | None = None
        self._watch: Watch | None = None
        self._runs = Runs()

    async def load(self) -> None:
        """Read the key, open the connections, and ask each server what it serves; one that is down may come up later."""
        key = _key(self._model)
        every = self._replicas.all
        self._wire = Wire(self._model, key, self._model.slots + 1)
        self._watch = Watch(self._model, self._name, every, Wire(self._model, key, 2 * len(every)), self._pace)
        await self._watch.start()

    async def perform(self, request: EngineRequest) -> Answer:
        """Run one request to its answer."""
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            return await run.step(self._performed(request))

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Run one request and yield its pieces as they come."""
        if request.endpoint in POOLING:
            answer = await self.perform(request)
            yield Chunk([], answer.usage, answer, answer.model_revision)
            return
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            async with aclosing(self._chunks(request)) as chunks:
                while (chunk := await run.step(anext(chunks, None))) is not None:
                    yield chunk

    async def abort(self, job_id: str) -> None:
        """Stop a request that is running, and close its connection; unknown ids are ignored."""
        self._runs.abort(job_id)

    def limits(self) -> EngineLimits:
        """What the fleet says of the model, and whether its servers hold answers to a schema: vLLM's do."""
        model = self._model
        return EngineLimits(
            model.slots,
            model.max_input_tokens,
            model.max_output_tokens,
            streams=True,
            endpoints=frozenset(self._model.endpoints) or ENDPOINTS,
            images=True,
            structured=all(one.is_vllm for one in self._replicas.all),
        )

    def load_now(self) -> Load | None:
        """What all servers run together, where each that lives is vLLM and has just reported."""
        return None if self._watch is None else self._replicas.load(asyncio.get_running_loop().time())

    async def health(self) -> Health:
        """Whether a server lists its models."""
        if self._watch is None or self._runs.closed:
            return Health(ready=False, detail="not loaded" if self._watch is None else "closed")
        said = await self._watch.health()
        if len(said) == 1:
            return Health(ready=said[0] is None, detail=said[0] or f"{self._replicas.all[0].base} answers")
        wrong = [f"{one.key}: {why}" for one, why in zip(self._replicas.all, said, strict=True) if why is not None]
        good = len(said) - len(wrong)
        return Health(ready=good > 0, detail=" ".join([f"{good} of {len(said)} servers answer.", *wrong]))

    async def close(self) -> None:
        """Abort what still runs, and close the connections."""
        await self._runs.close()
        if self._watch is not None:
            await self._watch.close()
        if self._wire is not None:
            await self._wire.close()

    async def _performed(self, request: EngineRequest) -> Answer:
        async with self._sent(request, stream=False) as (wire, sent):
            body = await wire.body(sent.response)
            with self._noticing(sent.replica):
                return checked(request, self._name, sent.replica.key, body, sent.size)

    async def _chunks(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """The pieces of a streamed answer, and the Answer; a server that does not stream gives both at once."""
        async with self._sent(request, stream=True) as (wire, sent), aclosing(wire.events(sent.response)) as events:
            streamed = Streamed(
                request, self._name, sent.replica.key, sent.size, counts_each=bool(sent.replica.is_vllm)
            )
            with self._noticing(sent.replica):
                async for event in events:
                    if "choices" in event and _is_whole(event):
                        answer = checked(request, self._name, sent.replica.key, event, sent.size)
                        yield Chunk(as_pieces(answer.body), answer.usage, answer, answer.model_revision)
                        return
                    if rows := streamed.add(event):
                        yield Chunk(rows, streamed.usage, model_revision=streamed.revision)
                answer = checked(request, self._name, sent.replica.key, streamed.body(), sent.size)
            yield Chunk([], answer.usage, answer, answer.model_revision)

    @contextmanager
    def _noticing(self, replica: Replica) -> Iterator[None]:
        """Notice a server that answers with another model: it gets no more requests while others are left."""
        try:
            yield
        except EngineFault as fault:
            if fault.fault_code == "wrong_model" and self._watch is not None:
                self._watch.misfit(replica, fault.message)
                fault.retryable = self._replicas.others(replica)
            raise

    @asynccontextmanager
    async def _sent(self, request: EngineRequest, *, stream: bool) -> AsyncIterator[tuple[Wire, _Sent]]:
        """The request at a server that answers it; one of which no byte was answered goes to a second server."""
        wire, watch = self._wire, self._watch
        if wire is None or watch is None:
            raise EngineFault("The engine is not loaded.", code="engine_closed", retryable=True, http_status=503)
        served = self._model.endpoints or ENDPOINTS
        if request.endpoint not in served:
            message = f"This model does not serve {request.endpoint}. It serves {', '.join(sorted(served))}."
            raise EngineFault(message, code="unsupported_endpoint", retryable=False, http_status=400)
        prefix = prefix_of(request.body)
        tried: set[Replica] = set()
        while True:
            replica = self._choose(request, prefix, tried)
            payload = self._payload(request, replica, stream=stream)
            async with AsyncExitStack() as stack:
                try:
                    sent = await self._send(stack, wire, replica, request, payload, stream=stream)
                except Unreached as fault:
                    if fault.counts:
                        watch.unreached(replica, fault.message)
                    tried.add(replica)
                    if not fault.elsewhere or len(tried) > 1 or not self._replicas.others(replica):
                        raise
                    continue
                except EngineFault as fault:
                    if fault.fault_code not in NO_ANSWER:
                        replica.answered()
                    await self._look_behind(fault, watch, replica)
                    raise
                replica.answered()
                yield wire, sent
                return

    async def _send(
        self,
        stack: AsyncExitStack,
        wire: Wire,
        replica: Replica,
        request: EngineRequest,
        payload: bytes,
        *,
        stream: bool,
    ) -> _Sent:
        """The answer of one server from its head on, open until the stack closes."""
        stack.enter_context(replica.busy())
        base = replica.base.removesuffix("/v1") if request.endpoint in AT_ROOT else replica.base
        url = base + request.endpoint.removeprefix("/v1")
        ranked = _ranks(request, replica)
        try:
            response = await stack.enter_async_context(wire.sent(url, payload, replica.key, stream=stream))
        except EngineFault as fault:
            if request.endpoint in AT_ROOT and fault.fault_code == "model_not_found":
                raise _has_not(self._model, url, fault) from None
            if not ranked or fault.fault_code != "bad_request" or "priority" not in fault.message.lower():
                raise
            payload = self._payload(request, replica, stream=stream, ranked=False)
            response = await stack.enter_async_context(wire.sent(url, payload, replica.key, stream=stream))
            replica.takes_priority = False  # until it is looked at again: it may be started anew with another scheduler
        return _Sent(replica, response, len(payload))

    def _choose(self, request: EngineRequest, prefix: int, tried: set[Replica]) -> Replica:
        now = asyncio.get_running_loop().time()
        bound = request.body.get("structured_outputs") is not None
        replica = self._replicas.choose(prefix, now, without=tried, vllm_only=bound)
        if replica is not None:
            return replica
        if bound and all(one.is_vllm is False for one in self._replicas.all):
            message = "`structured_outputs` is vLLM's own, and this model's server is another. Use `response_format`."
            raise EngineFault(message, code="bad_request", retryable=False, http_status=400)
        raise none_reached(self._model, self._replicas.until_probe_s(now) + self._pace.poll_s)

    async def _look_behind(self, fault: EngineFault, watch: Watch, replica: Replica) -> None:
        """Ask a server that knows no such model what it serves: where that is another, the next attempt goes elsewhere."""
        if fault.fault_code == "model_not_found" and self._replicas.others(replica):
            await watch.look(replica)
            fault.retryable = replica.misfit

    def _payload(self, request: EngineRequest, replica: Replica, *, stream: bool, ranked: bool = True) -> bytes:
        """The request's body as this server takes it; `ranked` to say how urgent it is, where that is understood."""
        body = {key: value for key, value in request.body.items() if key not in _NOT_SENT}
        if not body.get("store"):
            body.pop("metadata", None)  # servers refuse it, or would keep it, without `store`
        body["model"] = self._name
        if request.endpoint not in POOLING and output_limit(body) is None:
            limit = "max_completion_tokens" if _is_openai(request, replica) else "max_tokens"
            body[limit] = self._model.max_output_tokens
        if ranked and _ranks(request, replica):
            body["priority"] = BULK_PRIORITY
        if stream:
            body.update(stream=True, stream_options=_counting(replica))
        try:
            return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, TypeError, RecursionError):
            message = "The request's body cannot be written as JSON: it holds NaN, Infinity or is nested too deeply."
            raise EngineFault(message, code="bad_request", retryable=False, http_status=400) from None


def _servers(model: Model) -> list[tuple[str, str]]:
    """Base URL and key of rightsize.toml for every server of a model, none of them twice."""
    found = {model.address or "": f"models.{model.name}.address"}
    for place, base in enumerate(model.replicas):
        found.setdefault(base, f"models.{model.name}.replicas[{place}]")
    return list(found.items())


def _ranks(request: EngineRequest, replica: Replica) -> bool:
    """Whether a server is told that a request may wait for others."""
    bulk = not request.interactive and request.endpoint not in POOLING
    return bulk and bool(replica.is_vllm) and replica.takes_priority


def _has_not(model: Model, url: str, fault: EngineFault) -> EngineFault:
    """A 404 beside `/v1`: vLLM serves an endpoint there only where its model is of that kind, and other servers none."""
    message = (
        f"The server of model {model.name} has no {urlsplit(url).path}, or knows the model by another name. vLLM serves it with a "
        f"model of that kind; name the ones that this model serves in models.{model.name}.endpoints. It said: {fault.message[:300]}"
    )
    return EngineFault(message, code="unsupported_endpoint", retryable=False, http_status=400)


def _is_openai(request: EngineRequest, replica: Replica) -> bool:
    """OpenAI's own reasoning models refuse `max_tokens`, which every other server knows."""
    host = urlsplit(replica.base).hostname or ""
    return request.endpoint == "/v1/chat/completions" and host.endswith(".openai.com")


def _is_whole(event: dict[str, Any]) -> bool:
    rows = event["choices"]
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and "message" in rows[0]


def _counting(replica: Replica) -> dict[str, bool]:
    """How a stream is to count its tokens: at its end, and where the server is vLLM with every piece."""
    return {"include_usage": True, **({"continuous_usage_stats": True} if replica.is_vllm else {})}


def _key(model: Model) -> str | None:
    if model.api_key_env is None:
        return None
    key = os.environ.get(model.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        state = "is not set" if not key else "holds characters that no key has"
        raise InvalidConfig(
            f"The environment variable {model.api_key_env} {state}. It is named by models.{model.name}.api_key_env: "
            "set it to the key of the server, or remove the entry if the server takes none."
        )
    return key
