"""The engine for any server that speaks OpenAI's protocol: vLLM, llama.cpp, a gateway, or a provider.

Three clocks run on a request: `connect_timeout_s` until there is a connection, `first_byte_timeout_s` for any silence of a
streamed answer (one that is not streamed comes whole, after as long a silence as the model thinks), and the smaller of
`timeout_s` and the job's deadline for everything, also against a server that drips a byte now and then.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.fleet import Model
from workers.engines.base import Chunk, Engine, EngineLimits, EngineRequest, Health, Load
from workers.engines.openai_answer import checked, parsed
from workers.engines.openai_faults import bad_answer, from_error_body, from_exception, from_status
from workers.engines.openai_stream import Assembly
from workers.engines.prompt import output_limit, wanted_choices
from workers.engines.running import Run, Runs

ENDPOINTS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""The most that an answer may come to once it is decompressed."""
_MAX_ERROR_BYTES: Final = 64 * 1024
_PARSE_APART_BYTES: Final = 256 * 1024
_DRAIN_S: Final = 0.05
_HEALTH_TIMEOUT_S: Final = 5.0
_NOT_SENT: Final = frozenset({"stream", "stream_options"})


def open_engine(model: Model, _blobs: Path) -> Engine:
    """The engine of a model behind an address; raises InvalidConfig when the address cannot be one."""
    return OpenAIEngine(model)


class OpenAIEngine:
    """Sends each request to one server, and trusts nothing that comes back before it is checked."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._name = model.served_model or model.name
        self._base = model.address or ""
        self._host = urlsplit(self._base).hostname or ""
        self._key: str | None = None
        self._client: httpx2.AsyncClient | None = None
        silence = model.first_byte_timeout_s
        self._streamed = httpx2.Timeout(connect=model.connect_timeout_s, read=silence, write=silence, pool=None)
        self._whole = httpx2.Timeout(connect=model.connect_timeout_s, read=None, write=silence, pool=None)
        self._runs = Runs()

    async def load(self) -> None:
        """Read the key and open the connection pool; the server itself may come up later."""
        model = self._model
        self._key = _key(model)
        self._client = httpx2.AsyncClient(
            headers={"Accept-Encoding": "gzip", **({"Authorization": f"Bearer {self._key}"} if self._key else {})},
            timeout=self._streamed,
            limits=httpx2.Limits(
                max_connections=model.slots + 1, max_keepalive_connections=model.slots + 1, keepalive_expiry=30.0
            ),
            follow_redirects=False,
            trust_env=False,
        )

    async def perform(self, request: EngineRequest) -> Answer:
        """Run one request to its answer."""
        payload = self._payload(request, stream=False)
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            data = await run.step(self._fetched(request.endpoint, payload))
            return checked(request, self._name, self._body(await _parsed(data)), len(payload))

    async def stream(self, request: EngineRequest) -> AsyncIterator[Chunk]:
        """Run one request and yield its pieces as they come."""
        if request.endpoint == "/v1/embeddings":
            yield Chunk("", await self.perform(request))
            return
        payload = self._payload(request, stream=True)
        assembly = Assembly(request.endpoint, wanted_choices(request.body))
        with self._runs.start(request.job_id, request.seconds_left, self._model.timeout_s) as run:
            async with aclosing(self._events(request.endpoint, payload)) as events:
                while (event := await run.step(anext(events, None))) is not None:
                    if "choices" in event and _is_whole(event):
                        yield Chunk(_text_of(event), checked(request, self._name, event, len(payload)))
                        return
                    if delta := assembly.add(event):
                        yield Chunk(delta)
            yield Chunk("", checked(request, self._name, assembly.body(), len(payload)))

    async def abort(self, job_id: str) -> None:
        """Stop a request that is running, and close its connection; unknown ids are ignored."""
        self._runs.abort(job_id)

    def limits(self) -> EngineLimits:
        """What the fleet says of the model."""
        model = self._model
        return EngineLimits(
            model.slots, model.max_input_tokens, model.max_output_tokens, streams=True, endpoints=ENDPOINTS, images=True
        )

    def load_now(self) -> Load | None:
        """Nothing: it has no queue of its own to tell of."""
        return None

    async def health(self) -> Health:
        """Whether the server lists its models."""
        if self._client is None or self._runs.closed:
            return Health(ready=False, detail="not loaded" if self._client is None else "closed")
        run = Run(_HEALTH_TIMEOUT_S, _HEALTH_TIMEOUT_S)
        try:
            await run.step(self._read("GET", f"{self._base}/models", None))
        except EngineFault as fault:
            return Health(ready=False, detail=fault.message)
        return Health(ready=True, detail=f"{self._base} answers")

    async def close(self) -> None:
        """Abort what still runs, and close the connections."""
        await self._runs.close()
        if self._client is not None:
            await self._client.aclose()

    def _payload(self, request: EngineRequest, *, stream: bool) -> bytes:
        if request.endpoint not in ENDPOINTS:
            message = f"This model does not serve {request.endpoint}. It serves {', '.join(sorted(ENDPOINTS))}."
            raise EngineFault(message, code="unsupported_endpoint", retryable=False, http_status=400)
        body = {key: value for key, value in request.body.items() if key not in _NOT_SENT}
        if not body.get("store"):
            body.pop("metadata", None)  # servers refuse it, or would keep it, without `store`
        body["model"] = self._name
        if request.endpoint != "/v1/embeddings" and output_limit(body) is None:
            body["max_completion_tokens" if self._is_openai(request) else "max_tokens"] = self._model.max_output_tokens
        if stream:
            body.update(stream=True, stream_options={"include_usage": True})
        try:
            return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, TypeError, RecursionError):
            message = "The request's body cannot be written as JSON: it holds NaN, Infinity or is nested too deeply."
            raise EngineFault(message, code="bad_request", retryable=False, http_status=400) from None

    def _is_openai(self, request: EngineRequest) -> bool:
        """OpenAI's own reasoning models refuse `max_tokens`, which every other server knows."""
        return request.endpoint == "/v1/chat/completions" and self._host.endswith(".openai.com")

    async def _fetched(self, endpoint: str, payload: bytes) -> bytes:
        return await self._read("POST", self._base + endpoint.removeprefix("/v1"), payload)

    async def _read(self, method: str, url: str, payload: bytes | None) -> bytes:
        """The whole body of a good answer."""
        client = self._loaded()
        try:
            async with client.stream(method, url, content=payload, headers=_JSON, timeout=self._whole) as response:
                await self._check_status(response)
                return await _bounded(response, MAX_ANSWER_BYTES)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise from_exception(error, self._model) from None

    async def _events(self, endpoint: str, payload: bytes) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a streamed answer up to [DONE], or the one object of a server that does not stream."""
        client, url = self._loaded(), self._base + endpoint.removeprefix("/v1")
        try:
            async with client.stream("POST", url, content=payload, headers=_JSON) as response:
                await self._check_status(response)
                if "event-stream" not in response.headers.get("content-type", ""):
                    yield self._body(await _parsed(await _bounded(response, MAX_ANSWER_BYTES)))
                    return
                size = 0
                events = aiter(httpx2.EventSource(response))
                async for event in events:
                    if event.data.strip() == "[DONE]":
                        await _drain(events)
                        return
                    size += len(event.data)
                    if size > MAX_ANSWER_BYTES:
                        raise _too_large()
                    if event.data:
                        yield self._body(parsed(event.data.encode()))
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise from_exception(error, self._model) from None
        raise bad_answer("cut_stream", "The server's stream broke off before its end mark.")

    def _body(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("error"):
            raise from_error_body(body["error"], self._model, self._key)
        return body

    async def _check_status(self, response: httpx2.Response) -> None:
        if not 200 <= response.status_code < 300:
            start = await _bounded(response, _MAX_ERROR_BYTES, cut=True)
            raise from_status(response.status_code, response.headers, start, self._model, self._key)

    def _loaded(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise EngineFault("The engine is not loaded.", code="engine_closed", retryable=True, http_status=503)
        return self._client


_JSON: Final = {"Content-Type": "application/json"}


async def _bounded(response: httpx2.Response, most: int, *, cut: bool = False) -> bytes:
    """The decompressed body up to `most` bytes; one that is longer is cut, or a fault."""
    data = bytearray()
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > most:
                if cut:
                    return bytes(data[:most])
                raise _too_large()
    return bytes(data)


async def _parsed(data: bytes) -> dict[str, Any]:
    """The object in a body; a large one is parsed off the loop."""
    return await asyncio.to_thread(parsed, data) if len(data) > _PARSE_APART_BYTES else parsed(data)


async def _drain(events: AsyncIterator[Any]) -> None:
    """Read the few bytes after the end mark, so that the connection can serve the next request."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await anext(events, None)


def _too_large() -> EngineFault:
    return bad_answer("answer_too_large", f"The server's answer is over {MAX_ANSWER_BYTES // 2**20} MiB.")


def _is_whole(event: dict[str, Any]) -> bool:
    rows = event["choices"]
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and "message" in rows[0]


def _text_of(body: dict[str, Any]) -> str:
    message = body["choices"][0]["message"]
    said = message.get("content") if isinstance(message, dict) else None
    return said if isinstance(said, str) else ""


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
