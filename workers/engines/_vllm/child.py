"""In vLLM's own processes: end with the worker that started them, and write nothing of a request into its log.

vLLM loads this as a plugin in each of its processes (entry point `vllm.general_plugins`). Without it the engine of a worker that
was killed with -9 sleeps on, and holds the GPU's memory against the worker that is started in its place.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

from orchestrator.telemetry import keep_first_lines

PARENT: Final = "RIGHTSIZE_ENGINE_OF"
"""The variable that names the worker's pid; without it this is a vLLM of somebody else."""
LOOK_S: Final = 0.5
TELLING: Final = "vllm.v1.structured_output.backend_guidance"
"""The logger that quotes a whole schema or grammar of a caller where it cannot be followed."""


def end_with_worker() -> None:
    """Watch the process that started this one, from a thread, and keep requests out of its log; nothing happens in the worker itself."""
    worker = os.environ.get(PARENT)
    if worker is None or worker == str(os.getpid()):
        return
    keep_first_lines(TELLING)
    threading.Thread(target=_watch, args=(os.getppid(),), name="rightsize-parent", daemon=True).start()


def _watch(parent: int) -> None:
    """A parent that is gone has been replaced by another one: the kernel sends no signal, since a thread may have started us."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
