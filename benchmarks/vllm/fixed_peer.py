"""vLLM alone with a fixed number of requests in it: is asked `{"in": FILE, "at_once": N}`.

No queue, no database and no window: what an engine does that always holds so many, neither more nor fewer.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.vllm.peer import Say, answering, engine_args, questions


async def serve(given: dict[str, object], say: Say) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(engine_args(given)))
    say({"ready": True})
    async for asked in questions():
        say(await held(engine, bodies(Path(asked["in"])), asked["at_once"]))


def bodies(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row)["body"] for row in path.read_text("utf-8").splitlines()]


async def held(engine: Any, rows: list[dict[str, Any]], at_once: int) -> dict[str, Any]:
    """Requests a second for as long as the engine held `at_once`, and how many were preempted."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    tokenizer, free = engine.get_tokenizer(), asyncio.Semaphore(at_once)
    before, started, fed = preemptions(), time.monotonic(), 0.0

    async def one(number: int, row: dict[str, Any]) -> None:
        nonlocal fed
        async with free:
            fed = time.monotonic()
            tokens = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
            params = SamplingParams(
                temperature=0,
                max_tokens=row["max_tokens"],
                min_tokens=row["min_tokens"],
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            name = f"{at_once}-{number}-{started}"
            async for _ in engine.generate({"prompt_token_ids": tokens}, params, name):
                pass

    await asyncio.gather(*(one(number, row) for number, row in enumerate(rows)))
    return {"per_second": (len(rows) - at_once) / (fed - started), "preempted": preemptions() - before}


def preemptions() -> float:
    from prometheus_client import REGISTRY

    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "vllm:num_preemptions_total"
    )


if __name__ == "__main__":
    answering(serve)
