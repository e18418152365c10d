"""LoRA adapters of a model in vLLM: found and measured before the engine starts, loaded before it is ready, named by requests.

VLLM's prefix cache counts an adapter as part of the prefix, so that no request reads what another adapter wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from workers.engines._vllm.params import reason
from workers.engines.base import EngineRequest, bad_request

CONFIG: Final = "adapter_config.json"
TOGETHER: Final = 8
"""So many adapters at most may take part in one step, where the table does not say: each costs memory of its own."""


def arguments(model: Model, table: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM must be started with for the adapters of a model; raises InvalidConfig for one that is not there."""
    if not model.adapters:
        return {}
    if table.get("enable_lora") is False:
        raise InvalidConfig(
            f"models.{model.name} has `adapters`, but its table vllm turns enable_lora off. Remove one."
        )
    ranks = [_rank(model.name, name, path) for name, path in model.adapters.items()]
    together = table.get("max_loras", _together(len(ranks)))
    if _is_cpu() and isinstance(together, int) and together <= len(ranks):
        raise InvalidConfig(
            f"models.{model.name}.vllm.max_loras must be {len(ranks) + 1} or more for {len(ranks)} adapters on a CPU. Leave it out."
        )
    kept = max(len(ranks), together if isinstance(together, int) else 1)
    most = {"max_loras": together, "max_cpu_loras": kept}
    return {"enable_lora": True, **most, **({"max_lora_rank": _allowed(max(ranks))} if max(ranks) else {})}


def _together(count: int) -> int:
    """How many adapters may take part in one step.

    On a CPU one more than there are: vLLM 0.32 gives a row without an adapter there what its last place holds (its index for
    "none" is -1), so that this place has to stay empty.
    """
    return count + 1 if _is_cpu() else min(count, TOGETHER)


def _is_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _rank(model: str, name: str, path: str) -> int:
    """The rank of an adapter on the disk; 0 for an id on a hub, which nobody has looked at yet."""
    key, folder = f"models.{model}.adapters.{name}", Path(path).expanduser()
    if not folder.exists():
        if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
            raise InvalidConfig(f"{key}: there is nothing at {path}. Give the folder that holds its {CONFIG}.")
        return 0
    try:
        said = json.loads((folder / CONFIG).read_text("utf-8"))
        return max([int(said["r"]), *map(int, (said.get("rank_pattern") or {}).values())])
    except OSError as error:
        raise InvalidConfig(
            f"{key}: {path} holds no {CONFIG} that can be read ({error.strerror}). Give the folder of a LoRA adapter "
            "as PEFT saves it."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidConfig(f"{key}: {CONFIG} in {path} names no rank `r`. Save the adapter with PEFT again.") from None


def _allowed(rank: int) -> int:
    """The least rank that vLLM can be started with and that has room for this one; itself where there is none."""
    from typing import get_args

    from vllm.config.lora import MaxLoRARanks

    return int(min((one for one in get_args(MaxLoRARanks) if one >= rank), default=rank))


class Adapters:
    """The adapters of one loaded model."""

    def __init__(self, model: Model) -> None:
        self._model = model.name
        self._requests: dict[str, Any] = {}
        if model.adapters:
            from vllm.lora.request import LoRARequest

            self._requests = {
                name: LoRARequest(
                    name, number, str(Path(path).expanduser()) if Path(path).expanduser().exists() else path
                )
                for number, (name, path) in enumerate(model.adapters.items(), 1)
            }

    async def load(self, llm: Any) -> None:
        """Load each of them; raises InvalidConfig with vLLM's reason."""
        for name, request in self._requests.items():
            try:
                await llm.add_lora(request)
            except Exception as error:
                message = f"models.{self._model}.adapters.{name} cannot be loaded. vLLM says: {reason(error)}"
                raise InvalidConfig(message) from error

    def of(self, request: EngineRequest) -> Any:
        """VLLM's name for the adapter of a request, or None for the model alone; raises EngineFault for an unknown one."""
        if request.adapter is None:
            return None
        if request.adapter not in self._requests:
            there = ", ".join(self._requests) or "none"
            raise bad_request(f"This model has no adapter {request.adapter}. It has {there}.", "unknown_adapter")
        return self._requests[request.adapter]
