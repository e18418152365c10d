"""From an OpenAI body to vLLM's sampling parameters, by an allow-list: what is not named here never reaches the engine."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from orchestrator.errors import EngineFault
from orchestrator.structured import Form
from workers.engines.base import bad_request
from workers.engines.prompt import output_limit

MAX_STOPS: Final = 16
MAX_LOGPROBS: Final = 20
MAX_BIASES: Final = 1024
_PASSED: Final = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "n",
)
"""Numbers that go through as they are; their bounds were checked when the request was submitted."""


def answer_room(body: dict[str, Any], prompt_tokens: int, context: int, default: int) -> int:
    """How many tokens the answer may have; raises EngineFault where the prompt leaves none, or fewer than were asked for."""
    asked = output_limit(body)
    room = context - prompt_tokens
    if room < 1 or (asked is not None and asked > room):
        raise bad_request(
            f"The prompt has {prompt_tokens} tokens and asks for {asked or 1} more, but the model holds {context} in all. "
            "Shorten the prompt, or lower max_tokens.",
            "context_length_exceeded",
        )
    return min(asked if asked is not None else default, room)


def sampling(body: dict[str, Any], *, most: int, form: Form | None, final_only: bool = True, **more: Any) -> Any:
    """VLLM's `SamplingParams` for at most `most` tokens; raises EngineFault with vLLM's reason for what it refuses."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    given = {key: body[key] for key in _PASSED if body.get(key) is not None}
    if body.get("stop"):
        given["stop"] = [body["stop"]] if isinstance(body["stop"], str) else list(body["stop"])[:MAX_STOPS]
    if body.get("logprobs") is not None and body["logprobs"] is not False:
        wanted = body.get("top_logprobs") or 0 if body["logprobs"] is True else body["logprobs"]
        given["logprobs"] = min(int(wanted), MAX_LOGPROBS)
    if body.get("logit_bias"):
        given["logit_bias"] = _biases(body["logit_bias"])
    if body.get("seed") is not None:
        given["seed"] = int(body["seed"])
    if form is not None:
        given["structured_outputs"] = StructuredOutputsParams(**_held_to(form))
    kind = RequestOutputKind.FINAL_ONLY if final_only else RequestOutputKind.DELTA
    try:
        return SamplingParams(max_tokens=most, output_kind=kind, **{**given, **more})
    except (VLLMClientError, ValueError, TypeError) as error:
        raise refused(error) from None


def _biases(asked: dict[str, Any]) -> dict[int, float]:
    try:
        return {int(token): float(bias) for token, bias in list(asked.items())[:MAX_BIASES]}
    except (ValueError, TypeError, AttributeError):
        raise bad_request("`logit_bias` must give a number for each token's number.") from None


def _held_to(form: Form) -> dict[str, Any]:
    """A form as vLLM's `StructuredOutputsParams` name it."""
    match form.kind:
        case "schema":
            return {"json": form.value}
        case "object":
            return {"json_object": True}
        case "choice":
            return {"choice": json.loads(form.value)}
        case "regex":
            return {"regex": form.value}
        case "grammar":
            return {"grammar": form.value}


def refused(error: BaseException) -> EngineFault:
    """VLLM's reason for refusing a request, as a fault of the request."""
    return bad_request(f"The engine refuses the request: {str(error)[:400]}")


MEMORY: Final = (
    "The engine's process told why in the log above. If it was memory: lower max_model_len, gpu_memory_utilization or slots, raise "
    "kv_cache_memory_bytes where it is set, or end what else holds the GPU (nvidia-smi shows it)."
)
"""What to do about an engine that could not start: its reason stays in its own process, and vLLM hands on that it failed."""


_TAIL: Final = re.compile(r" \[type=\w+, input_value=.*?, input_type=\w+\]", re.DOTALL)
"""What pydantic adds for developers."""


def reason(error: BaseException) -> str:
    """What vLLM says is wrong, in at most a few lines: pydantic's and its own errors are long, and end with advice to developers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("For further information")]
    text = _TAIL.sub("", " ".join(told))[:600] or type(error).__name__
    return f"{text} {MEMORY}" if "Engine core initialization failed" in text else text
