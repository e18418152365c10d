"""What the peers share, which are programs that talk: arguments on the command line, questions by the line, answers with figures."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

Say = Callable[[Mapping[str, object]], None]


def answering(serve: Callable[[dict[str, object], Say], Coroutine[Any, Any, None]]) -> None:
    """Run a peer. vLLM writes to standard output, which is ours to answer on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

    def say(told: Mapping[str, object]) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    asyncio.run(serve(json.loads(sys.argv[1]), say))


async def questions() -> AsyncIterator[dict[str, Any]]:
    """What we are asked, until nobody asks any more."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield json.loads(line)


def engine_args(given: Mapping[str, object]) -> Any:
    """The batch runner's arguments with these of the engine among them."""
    from vllm.entrypoints.launchers.run_batch import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    fixed = {"enforce_eager": True, "distributed_executor_backend": "uni", "kv_cache_memory_bytes": 2**30}
    chosen = {**fixed, **given}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in chosen.items() if not isinstance(value, bool)]
    words += [f"--{key.replace('_', '-')}" for key, value in chosen.items() if value is True]
    return make_arg_parser(FlexibleArgumentParser()).parse_args(["-i", "none", "-o", "none", *words])
