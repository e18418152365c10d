"""The file of a task: TOML or YAML, with schemas that may lie in files of their own."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.errors import InvalidRequest

MOST_BYTES: Final = 1024 * 1024
SCHEMA_FILE: Final = "output_schema_file"


def definition_in(path: Path) -> dict[str, Any]:
    """The definition that a file holds, as the service takes it; raises InvalidRequest that says where it is wrong."""
    text = _text(path)
    try:
        found: Any = yaml.safe_load(text) if path.suffix.lower() in (".yaml", ".yml") else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InvalidRequest(
            f"{path} is not valid {'YAML' if 'yaml' in type(error).__module__ else 'TOML'}: {error}."
        ) from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path} must be a table with name, instructions and so on.")
    if SCHEMA_FILE in found:
        found["output_schema"] = schema_in(path.parent / str(found.pop(SCHEMA_FILE)))
    return found


def schema_in(path: Path) -> dict[str, Any]:
    """The JSON Schema that a file holds; raises InvalidRequest where it is none."""
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path} must hold a JSON Schema, an object.")
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InvalidRequest(f"{path} is over {MOST_BYTES // 1024:,} KiB.")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no UTF-8 text. Save it as UTF-8.") from None
