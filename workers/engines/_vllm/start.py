"""Starting vLLM from the table `[models.NAME.vllm]`: every argument of its engine, checked by vLLM's own parser.

The names are those of `vllm serve`, with dashes or underscores. A table or list of TOML becomes what vLLM's command line
takes for it, so that whatever a release of vLLM understands can be set here, and what is wrong is said in its own words.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from workers.engines._vllm.adapters import arguments
from workers.engines._vllm.child import PARENT

OURS: Final = frozenset({"model", "disable_log_stats", "served_model_name", "api_key", "host", "port"})
"""Arguments that are not the fleet's to set: they are given by `path`, or belong to an HTTP server that is not there."""
BYTES_ONLY: Final = frozenset(
    {"allowed_local_media_path", "allowed_media_domains", "enable_mm_embeds", "enable_prompt_embeds"}
)
"""Arguments by which a request could make vLLM fetch, open or unpack something: pictures and sound come as bytes, see `workers.media`."""
NOWHERE: Final = "nothing-is-fetched.invalid"
"""The one host that pictures might come from: a name that RFC 2606 keeps from ever being one."""
CPU_KV_BYTES: Final = 2**30
"""The key-value cache on a CPU where the table names none: vLLM's own default takes most of the machine's memory."""


PREFILL_SHARE: Final = 4
"""One prompt takes at most this part of a step's tokens, where interactive requests are to be answered meanwhile."""


def engine_config(model: Model) -> Any:
    """The `VllmConfig` of a model; raises InvalidConfig with vLLM's reason and the key.

    How many tokens a step has, where the table does not say, is vLLM's choice for offline work, or for a server if slots are kept
    for interactive requests. A long prompt is then read in parts, so that no step is long and full of bulk work.
    """
    arguments = engine_arguments(model)
    from vllm.usage.usage_lib import UsageContext

    config = arguments.create_engine_config(UsageContext.OPENAI_API_SERVER if model.reserve else UsageContext.LLM_CLASS)
    steps = config.scheduler_config
    told = "long_prefill_token_threshold" in {key.replace("-", "_") for key in model.vllm}
    if model.reserve and steps.enable_chunked_prefill and not told:
        part = max(1, steps.max_num_batched_tokens // PREFILL_SHARE)
        steps.long_prefill_token_threshold = min(part, config.model_config.max_model_len)
    return config


def engine_arguments(model: Model) -> Any:
    """The `AsyncEngineArgs` of a model; raises InvalidConfig with vLLM's reason and the key."""
    # It tells everything that it does; what goes wrong is a warning or worse.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ[PARENT] = str(os.getpid())
    from vllm.engine.arg_utils import AsyncEngineArgs  # takes seconds
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:
            raise InvalidConfig(f"models.{model.name}.vllm: vLLM says: {message}.")

    _check_path(model)
    table = {key.replace("-", "_"): value for key, value in model.vllm.items()}
    if taken := sorted(OURS & table.keys()):
        raise InvalidConfig(f"models.{model.name}.vllm.{taken[0]} is not set here. The weights are named by `path`.")
    if taken := sorted(BYTES_ONLY & table.keys()):
        raise InvalidConfig(
            f"models.{model.name}.vllm.{taken[0]} is not set here. Pictures and sound reach the model as bytes only."
        )
    table = {**_defaults(model, table), **arguments(model, table), **table, "allowed_media_domains": [NOWHERE]}
    os.environ["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] = "0"
    parser = AsyncEngineArgs.add_cli_args(Parser())
    known = {action.dest for action in parser._actions}  # noqa: SLF001 - argparse has no public list of them
    if unknown := sorted(table.keys() - known):
        raise InvalidConfig(f"models.{model.name}.vllm.{unknown[0]}: this release of vLLM has no such argument.")
    given = parser.parse_args([f"--model={model.path}", *_as_command_line(table)])
    return AsyncEngineArgs.from_cli_args(given)


def _check_path(model: Model) -> None:
    """Refuse a folder that is not there, which vLLM would take for the name of one on a hub, and weights that are not whole."""
    path = model.path or ""
    folder = Path(path).expanduser()
    if path.startswith(("/", ".", "~")) and not folder.exists():
        raise InvalidConfig(
            f"models.{model.name}.path: there is no folder {path}. Name one with the weights, or a hub id such as ORGANISATION/MODEL."
        )
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        try:
            with safe_open(file, framework="numpy"):
                pass  # opening reads the table of contents, and holds it against the file's length
        except SafetensorError as error:
            raise InvalidConfig(f"models.{model.name}.path: {file} is not whole ({error}). Copy it again.") from error


def _defaults(model: Model, table: Mapping[str, Any]) -> dict[str, Any]:
    """What we set where the table does not: the slots, and on a CPU what lets vLLM start at all."""
    from vllm.platforms import current_platform

    # Priority lets an interactive request overtake those that wait; it frees no slot, see `gate.RESERVED_SHARE`.
    chosen: dict[str, Any] = {"max_num_seqs": _slots_of_one(model, table), "scheduling_policy": "priority"}
    # vLLM's own choice of backend was seen to write raw control characters into strings, and blanks without end.
    chosen["structured_outputs_config"] = {"backend": "guidance", "disable_any_whitespace": True}
    if current_platform.is_cpu():
        # One process beside ours instead of two: "uni" alone is overruled.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        # OpenMP's threads spin where they wait for one another: on cores that the worker needs too, that is time taken from the one
        # that all wait for. To be set before the engine's process starts.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        chosen |= {"enforce_eager": True, "distributed_executor_backend": "uni"}
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            chosen["kv_cache_memory_bytes"] = CPU_KV_BYTES
    return chosen


def _slots_of_one(model: Model, table: Mapping[str, Any]) -> int:
    """The slots are those of all copies of the model together, and vLLM's argument means one copy."""
    copies = table.get("data_parallel_size", 1)
    return math.ceil(model.slots / copies) if isinstance(copies, int) and copies > 0 else model.slots


def _as_command_line(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            yield flag
        elif value is False:
            yield flag.replace("--", "--no-", 1)
        elif isinstance(value, Mapping):
            yield f"{flag}={json.dumps(value)}"
        elif isinstance(value, (list, tuple)):
            yield flag
            yield from (json.dumps(item) if isinstance(item, Mapping) else str(item) for item in value)
        else:
            yield f"{flag}={value}"
