"""vLLM's own `run_batch` on one engine that stays warm: reads `{"in": FILE, "out": FILE}` by the line, answers with figures."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path


async def serve(given: dict[str, object]) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.run_batch import make_arg_parser, run_batch
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    words = [f"--{key.replace('_', '-')}={value}" for key, value in given.items() if not isinstance(value, bool)]
    words += [f"--{key.replace('_', '-')}" for key, value in given.items() if value is True]
    fixed = ["--enforce-eager", "--distributed-executor-backend=uni", f"--kv-cache-memory-bytes={2**30}"]
    parser = make_arg_parser(FlexibleArgumentParser())
    args = parser.parse_args(["-i", "none", "-o", "none", *fixed, *words])
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(args))
    say({"ready": True})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
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


def say(told: dict[str, object]) -> None:
    OUT.write(json.dumps(told) + "\n")
    OUT.flush()


if __name__ == "__main__":
    # vLLM writes to standard output, which is ours to answer on.
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    asyncio.run(serve(json.loads(sys.argv[1])))
