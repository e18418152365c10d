"""Code that talks to models, one file an engine. `open_engine` makes the one that a model of the fleet names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from workers.engines.base import Engine

_MODULES: Final = {
    "simulated": "workers.engines.simulated",
    "openai": "workers.engines.openai",
    "specialist": "workers.engines.specialist",
    "vllm": "workers.engines.vllm",
    "llamacpp": "workers.engines.llamacpp",
}


def open_engine(model: Model, blobs: Path) -> Engine:
    """An engine for `model`, not yet loaded. Its module is imported here, so that a worker starts without the others."""
    name = _MODULES.get(model.engine)
    if name is None:
        raise InvalidConfig(f"models.{model.name}.engine is {model.engine!r}. Known: {', '.join(_MODULES)}.")
    engine: Engine = importlib.import_module(name).open_engine(model, blobs)
    return engine
