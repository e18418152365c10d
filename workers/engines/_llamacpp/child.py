"""The process in which llama.cpp runs: it loads one model and serves it on a socket, until its parent lets go of it.

It is started by file and imports nothing of ours. What it is to do comes as one line of JSON on standard input; that the
model is ready, or why not, goes out as one line of JSON on standard output. When standard input ends it leaves at once.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from typing import Any


def main() -> None:
    """Serve until the parent is gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the library prints is no answer of ours
    asked = json.loads(sys.stdin.buffer.readline())
    gone = threading.Event()
    folder = os.path.dirname(asked["socket"])  # noqa: PTH120
    threading.Thread(target=_wait_for_parent, args=(gone, folder), daemon=True).start()
    try:
        import xllamacpp

        server = xllamacpp.Server(_parameters(xllamacpp, asked))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        answers.write(json.dumps({"ready": False, "error": str(error)}) + "\n")
        answers.flush()
        os._exit(1)
    answers.write(json.dumps({"ready": True, "version": xllamacpp.__version__}) + "\n")
    answers.flush()
    gone.wait()
    del server, answers
    os._exit(0)


def _wait_for_parent(gone: threading.Event, folder: str) -> None:
    """Leave when it is gone, with the folder of the socket: one that was killed removes nothing itself."""
    while os.read(0, 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    gone.set()
    os._exit(0)  # in the midst of loading too; there is nothing to put in order


def _parameters(library: Any, asked: dict[str, Any]) -> Any:
    """llama.cpp's own parameters."""
    parameters = library.CommonParams()
    parameters.model.path = asked["path"]
    parameters.model_alias = {asked["name"]}
    parameters.hostnames = [asked["socket"]]
    parameters.api_keys = [asked["key"]]
    parameters.ui = False
    parameters.endpoint_slots = True
    parameters.offline = True
    parameters.verbosity = 1
    parameters.n_parallel = asked["slots"]
    parameters.n_ctx = asked["slots"] * asked["context"]
    parameters.n_batch = parameters.n_ubatch = asked["batch"]
    for part in (parameters.cpuparams, parameters.cpuparams_batch):
        part.n_threads = asked["threads"]
        part.poll = 0  # no spinning between steps either
    # Each request under way holds one of these.
    parameters.n_threads_http = asked["connections"]
    parameters.n_gpu_layers = asked["gpu_layers"]
    parameters.fit_params = False  # what was asked for, or a refusal: never silently less
    parameters.cache_ram_mib = 0  # by default up to 8 GiB of old prompts
    parameters.prefill_assistant = (
        False  # a last message of the assistant is said, and not gone on with: so do the other engines
    )
    parameters.reasoning_format = (
        library.common_reasoning_format.COMMON_REASONING_FORMAT_DEEPSEEK
        if asked["reasoning"]
        else library.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    )
    if asked["flash_attention"] is not None:
        kinds = library.llama_flash_attn_type
        parameters.flash_attn_type = (
            kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if asked["flash_attention"] else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
    if asked["embeddings"]:
        parameters.embedding = True
        if not asked["pools"]:
            parameters.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return parameters


if __name__ == "__main__":
    main()
