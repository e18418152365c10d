"""From one of vLLM's outputs to what the model wrote."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.errors import EngineFault

_FINISH: Final = {"stop": "stop", "length": "length", "repetition": "stop"}


def finish_of(output: Any) -> str | None:
    """Why a completion output ended, None while it goes on; raises EngineFault for one that the engine gave up."""
    if output.finish_reason is None:
        return None
    finish = _FINISH.get(output.finish_reason)
    if finish is None:
        raise given_up()
    return finish


def given_up() -> EngineFault:
    """The fault of a request that the engine ended before it was done."""
    message = (
        "The engine gave the request up before it was done. Where the answer is held to a schema or a grammar: see that it "
        "does not ask for itself without end, and make it simpler."
    )
    return EngineFault(message, code="aborted", retryable=True, http_status=503)


def logprobs_of(output: Any, tokenizer: Any) -> list[dict[str, Any]] | None:
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
