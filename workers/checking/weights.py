"""What weights on this machine say of themselves before anything is loaded: whether they are whole, and how much of a request they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model

ANSWER_SHARE: Final = 4
"""One part in so many of the context is kept for the answer, where that is less than a model may write anyway."""
MOST_CONFIG_BYTES: Final = 16 * 1024 * 1024


def limits(path: Path) -> dict[str, int]:
    """`max_input_tokens` and `max_output_tokens` of a GGUF file or of a folder with config.json; empty where they do not tell.

    Raises InvalidConfig for a file that is not whole.
    """
    if path.is_dir():
        context = _positions(path / "config.json")
    else:
        from workers.engines.llamacpp import context_in

        context = context_in(path)
    if not context:
        return {}
    answer = min(Model.model_fields["max_output_tokens"].default, context // ANSWER_SHARE)
    return {"max_input_tokens": context - answer, "max_output_tokens": answer}


def _positions(config: Path) -> int:
    """Tokens that a model of transformers was trained for; one that also sees keeps them with its text part."""
    try:
        with config.open("rb") as file:
            told: Any = json.loads(file.read(MOST_CONFIG_BYTES))
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{config} cannot be read ({error}). Fetch the model again.") from None
    for part in (told, told.get("text_config")) if isinstance(told, dict) else ():
        found = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            return found
    return 0
