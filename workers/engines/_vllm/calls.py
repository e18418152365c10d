"""Calls of vLLM's engine: what it raises becomes a fault of ours, and its death is told to everybody."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

from orchestrator.errors import EngineFault
from workers.engines._vllm.adapters import Adapters
from workers.engines._vllm.params import reason, refused
from workers.engines._vllm.prompt import Prompt
from workers.engines.base import EngineRequest

ENDED: Final = "vLLM's engine process ended. Its own log says why."


class Calls:
    """The two ways to ask one loaded engine."""

    def __init__(self, llm: Any, adapters: Adapters, died: Callable[[str], EngineFault]) -> None:
        """`died` takes in why the engine is dead, and gives the fault that its requests end with."""
        self._llm, self._adapters, self._died = llm, adapters, died
        self._ids = itertools.count()

    async def generate(self, prompt: Prompt, params: Any, request: EngineRequest) -> AsyncGenerator[Any, None]:
        """VLLM's outputs for one prompt, each as it is told by `params`; raises EngineFault. Closing it ends the request there."""
        with self._faults():
            generating = self._llm.generate(prompt.engine_input, params, self._name(request), **self._how(request))
            async with aclosing(generating) as outputs:
                async for output in outputs:
                    yield output

    async def encode(self, prompt: Prompt, params: Any, request: EngineRequest) -> Any:
        """VLLM's output for a text that it only reads; raises EngineFault."""
        with self._faults():
            async for output in self._llm.encode(
                prompt.engine_input, params, self._name(request), **self._how(request)
            ):
                if output.finished:
                    return output
        raise EngineFault("The engine gave no answer.", code="engine_error", retryable=True, http_status=500)

    def _name(self, request: EngineRequest) -> str:
        """A job may be several of vLLM's requests."""
        return f"{request.job_id}-{next(self._ids)}"

    def _how(self, request: EngineRequest) -> dict[str, Any]:
        return {"lora_request": self._adapters.of(request), "priority": 0 if request.interactive else 1}

    @contextmanager
    def _faults(self) -> Iterator[None]:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            yield
        except EngineDeadError:
            raise self._died(ENDED) from None
        except EngineGenerateError as error:
            cause = error.__cause__ or error
            if isinstance(cause, (ValueError, TypeError)):
                raise refused(cause) from None
            message = f"The engine failed in the midst of the request: {reason(cause)}"
            raise EngineFault(message, code="engine_error", retryable=True, http_status=500) from error
        except (VLLMClientError, ValueError, TypeError) as error:
            raise refused(error) from None
