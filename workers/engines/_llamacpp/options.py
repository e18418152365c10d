"""The options under `[models.NAME.llamacpp]`, checked, and how many threads fit the machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from orchestrator.fleet.model import Count, Strict
from workers.engines._llamacpp.gguf import Weights

MOST_SLOTS: Final = 256
"""What llama.cpp can hold side by side."""
USUAL_CONTEXT: Final = 4_096
_LEAST_CONTEXT: Final = 256
_TOPOLOGY: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


class Options(Strict):
    """How llama.cpp runs a model."""

    threads: Annotated[Count, Field(le=512)] | None = None
    """Threads that compute; without it the physical cores that this process may use, divided by `workers_on_host`."""
    workers_on_host: Annotated[Count, Field(le=512)] = 1
    """How many workers share this machine, so that they do not each take all of its cores."""
    context_per_slot: Annotated[Count, Field(ge=_LEAST_CONTEXT)] | None = None
    """The most tokens of one request, prompt and answer together; 4,096 or what the model was trained for, if less."""
    batch: Annotated[Count, Field(ge=32, le=8192)] = 256
    """Prompt tokens that are computed in one step. An abort takes effect between two steps."""
    gpu_layers: Annotated[int, Field(strict=True, ge=0, le=1000)] = 0
    """Layers that run on a GPU, for a build of xllamacpp that knows one."""
    flash_attention: Annotated[bool, Field(strict=True)] | None = None
    """Whether to compute attention in blocks; llama.cpp decides where it is not given."""
    embeddings: Annotated[bool, Field(strict=True)] = False
    """Serves `/v1/embeddings`, and only that."""
    control_tokens_in_prompts: Annotated[bool, Field(strict=True)] = False
    """Lets a `prompt` of `/v1/completions` hold control tokens as text, for callers that write a chat template themselves."""
    start_s: Annotated[float, Field(gt=0, le=3600)] = 600.0
    """How long loading may take, in seconds."""


def options_of(model: Model) -> Options:
    """The checked options of a model; raises InvalidConfig that names the key."""
    where = f"models.{model.name}.llamacpp"
    try:
        options = Options.model_validate(dict(model.llamacpp))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        known = f" Known keys: {', '.join(Options.model_fields)}." if first["type"] == "extra_forbidden" else ""
        raise InvalidConfig(f"{key}: {first['msg']}.{known}") from None
    if model.slots > MOST_SLOTS:
        raise InvalidConfig(f"models.{model.name}.slots is {model.slots}; llama.cpp runs at most {MOST_SLOTS} at once.")
    return options


def context_of(model: Model, options: Options, weights: Weights) -> int:
    """Tokens of one slot; raises InvalidConfig where the model or the machine's memory does not reach that far."""
    where = f"models.{model.name}.llamacpp.context_per_slot"
    trained = weights.context or USUAL_CONTEXT
    asked = options.context_per_slot
    if asked is not None and weights.context and asked > weights.context:
        raise InvalidConfig(
            f"{where} is {asked:,}, but {weights.path.name} was trained for {trained:,} tokens. Lower it."
        )
    context = asked or min(trained, USUAL_CONTEXT, model.max_input_tokens + model.max_output_tokens)
    needed, there = weights.size + weights.kv_bytes * context * model.slots, memory_bytes()
    if there and needed > there:
        raise InvalidConfig(
            f"{where}: {model.slots} slots of {context:,} tokens need about {needed / 2**30:.1f} GiB with the weights, "
            f"and this machine has {there / 2**30:.1f} GiB. Lower context_per_slot or models.{model.name}.slots."
        )
    return context


def threads_of(options: Options) -> int:
    """How many threads compute."""
    return options.threads or max(1, physical_cores() // options.workers_on_host)


def physical_cores() -> int:
    """The physical cores that this process may use: by its affinity, and by its control group's quota."""
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
    cores = {_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota() or len(cores)))


def _siblings(cpu: int) -> str:
    """The CPUs of one core; the CPU itself where the system does not tell."""
    with suppress(OSError):
        return Path(_TOPOLOGY.format(cpu)).read_text("ascii").strip()
    return str(cpu)


def _quota() -> int | None:
    """Whole CPUs that the control group may use, at least one; None without a quota."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            return max(1, int(quota) // int(period))
    return None


def memory_bytes() -> int:
    """Memory of the machine, or of the control group if that is less; 0 where it cannot be told."""
    total = 0
    with suppress(OSError, ValueError, AttributeError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        if limit != "max":
            return min(total, int(limit)) if total else int(limit)
    return total
