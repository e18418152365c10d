"""From one of vLLM's outputs to what the model wrote."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.errors import EngineFault
from workers.engines.answer_body import Written

_FINISH: Final = {"stop": "stop", "length": "length", "repetition": "stop"}


def written(output: Any, tokenizer: Any) -> Written:
    """One of vLLM's completion outputs; raises EngineFault for one that the engine gave up."""
    finish = _FINISH.get(output.finish_reason or "")
    if finish is None:
        message = (
            "The engine gave the request up before it was done. Where the answer is held to a schema or a grammar: see that it "
            "does not ask for itself without end, and make it simpler."
        )
        raise EngineFault(message, code="aborted", retryable=True, http_status=503)
    return Written(output.text, len(output.token_ids), finish, logprobs=_logprobs(output, tokenizer))


def _logprobs(output: Any, tokenizer: Any) -> list[dict[str, Any]] | None:
    """Of each token its log probability and those of the likeliest others, as OpenAI lists them."""
    if output.logprobs is None:
        return None
    rows = []
    for token, found in zip(output.token_ids, output.logprobs, strict=False):
        others = sorted(found.items(), key=lambda pair: pair[1].rank or 0)
        told = [_told(tokenizer, one, logprob) for one, logprob in others if one != token or len(found) > 1]
        rows.append({**_told(tokenizer, token, found[token]), "top_logprobs": told})
    return rows


def _told(tokenizer: Any, token: int, logprob: Any) -> dict[str, Any]:
    text = logprob.decoded_token if logprob.decoded_token is not None else tokenizer.decode([token])
    # JSON has no infinity: the least that a float of 32 bits holds stands for it, as in OpenAI's answers.
    return {
        "token": text,
        "logprob": max(float(logprob.logprob), -9999.0),
        "bytes": list(text.encode("utf-8", "replace")),
    }
