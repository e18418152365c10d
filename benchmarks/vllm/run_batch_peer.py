"""vLLM's own `run_batch` on one engine that stays warm: is asked `{"in": FILE, "out": FILE}`."""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks.vllm.peer import Say, answering, engine_args, questions


async def serve(given: dict[str, object], say: Say) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.run_batch import run_batch
    from vllm.v1.engine.async_llm import AsyncLLM

    args = engine_args(given)
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(args))
    say({"ready": True})
    async for asked in questions():
        args.input_file, args.output_file = asked["in"], asked["out"]
        started = time.monotonic()
        await run_batch(engine, args)
        seconds = time.monotonic() - started
        good = succeeded(Path(asked["out"]))
        say({"seconds": seconds, "succeeded": len(good), "hit_rate": hit_rate(good)})


def succeeded(out: Path) -> list[dict[str, object]]:
    rows = [json.loads(row) for row in out.read_text("utf-8").splitlines()]
    return [row["response"]["body"] for row in rows if row["response"]["status_code"] == 200]


def hit_rate(bodies: list[dict[str, object]]) -> float:
    read = cached = 0
    for body in bodies:
        usage = body["usage"]
        assert isinstance(usage, dict)
        read += usage["prompt_tokens"]
        cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return cached / max(1, read)


if __name__ == "__main__":
    answering(serve)
