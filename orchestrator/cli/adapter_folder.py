"""A LoRA adapter on the disk, in PEFT's format: what its folder says, held against its own weights and against those of its base model.

Nothing is loaded: of files of weights (safetensors) only the table of contents is read.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import InvalidRequest, TooLarge

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MOST_CONFIG_BYTES: Final = 1024 * 1024
MOST_CONTENTS_BYTES: Final = 64 * 1024 * 1024
"""Of a table of contents."""
MOST_WEIGHTS_BYTES: Final = 16 * 1024**3
MOST_RANK: Final = 512
"""The greatest that vLLM takes."""
MOST_FILES: Final = 1_000
"""Files of weights of a base model."""
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Of one number of each kind that safetensors has."""
FLOATS: Final = frozenset({"F16", "BF16", "F32", "F64"})
MODULE: Final = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<row>[AB]))"
)
STARTS: Final = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
"""Ways in which PEFT begins an adapter that leave its base model as it is."""
NOT_SERVED: Final = {
    "use_dora": "DoRA", "lora_bias": "biases of LoRA layers", "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers", "use_bdlora": "block-diagonal LoRA", "use_qalora": "QALoRA",
    "modules_to_save": "whole modules that were trained beside the adapter",
}  # fmt: skip
"""Keys of PEFT's that vLLM has nothing for, and what they mean."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a table of contents tells of it."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is known of a sound adapter."""

    folder: Path
    base: str
    """The name of the model that it was trained on, as PEFT wrote it down."""
    rank: int
    """The greatest of its layers."""
    modules: Mapping[str, tuple[int, int]]
    """Each layer that it changes, with the shape that this layer's own weights must have."""


def read(folder: Path) -> Adapter:
    """The adapter in a folder; raises InvalidRequest or TooLarge that says what to do where it is none, or not whole."""
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder}. Give the folder of an adapter as PEFT saves it.")
    said = _config(folder / CONFIG)
    ranks = _ranks(said, folder)
    _refuse_unserved(said, folder)
    if not (folder / WEIGHTS).is_file():
        hint = (
            " Its adapter_model.bin is a pickle, which can run code when it is read."
            if (folder / "adapter_model.bin").exists()
            else ""
        )
        raise InvalidRequest(f"{folder} holds no {WEIGHTS}.{hint} Save the adapter again with safe_serialization=True.")
    if (folder / WEIGHTS).stat().st_size > MOST_WEIGHTS_BYTES:
        raise TooLarge(
            f"{folder / WEIGHTS} is over {MOST_WEIGHTS_BYTES // 1024**3} GiB: an adapter is smaller. Give its own folder."
        )
    modules = _modules(contents(folder / WEIGHTS), ranks, folder)
    _refuse_untargeted(said, modules, folder)
    base = said.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InvalidRequest(
            f"{folder / CONFIG} names no base model (base_model_name_or_path). Save the adapter with PEFT again."
        )
    return Adapter(folder, base, max(ranks), modules)


def check_fits(adapter: Adapter, name: str, path: str) -> str:
    """Hold an adapter against its base model, called `name`, whose weights are at `path`; what could not be checked, in words.

    Raises InvalidRequest where the shapes of its weights are not those of that model, or, with no weights here to hold it against,
    where it was trained on a model of another name.
    """
    there = _weights_of(Path(path).expanduser())
    known = {module: there[f"{module}.weight"] for module in adapter.modules if f"{module}.weight" in there}
    missing = sorted(adapter.modules.keys() - known.keys())
    if known and missing:
        raise InvalidRequest(
            f"{adapter.folder} changes {missing[0]}, which {name} at {path} does not have: it was trained on another model, "
            f"{adapter.base}. Give that one as --base."
        )
    for module, tensor in known.items():
        if tensor.kind in FLOATS and tensor.shape != adapter.modules[module]:
            wanted, found = (" x ".join(map(str, shape)) for shape in (adapter.modules[module], tensor.shape))
            raise InvalidRequest(
                f"{adapter.folder} changes {module} of {wanted} numbers, and in {name} it has {found}: it was trained on another "
                f"model, {adapter.base}. Give that one as --base."
            )
    if _same_model(adapter.base, path):
        return (
            ""
            if known
            else f"The weights of {name} are not on this machine, or under other names: only the name was compared."
        )
    if known:
        return (
            f"It was trained on {adapter.base}; its layers fit those of {name}. Make sure that this is the same model."
        )
    raise InvalidRequest(
        f"{adapter.folder} was trained on {adapter.base}, and {name} is {path}. If they are the same, write {path} as "
        f"base_model_name_or_path into its {CONFIG}; otherwise give the model that it belongs to as --base."
    )


def contents(file: Path) -> dict[str, Tensor]:
    """The table of contents of a safetensors file, held against the file's length; raises InvalidRequest where they do not agree."""
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size
            begins = opened.read(8)
            length = struct.unpack("<Q", begins)[0] if len(begins) == 8 else -1
            if not 0 < length <= min(size - 8, MOST_CONTENTS_BYTES):
                raise _not_whole(file, "it has no table of contents")
            told = json.loads(opened.read(length), object_pairs_hook=_once)
        return _tensors(file, told, size - 8 - length)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read ({error.strerror}). Mend that.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _not_whole(file, "its table of contents cannot be read") from None


def _tensors(file: Path, told: Mapping[str, Any], size: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    spans: list[tuple[int, int]] = []
    for name, one in told.items():
        if name == "__metadata__":
            continue
        begin, end = one["data_offsets"]
        shape = tuple(one["shape"])
        if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
            raise _not_whole(file, f"{name} has no shape and place")
        if (end - begin) * 8 != math.prod(shape) * BITS[one["dtype"]]:
            raise _not_whole(file, f"{name} takes another room than its shape does")
        found[name] = Tensor(one["dtype"], shape)
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise _not_whole(file, "its tensors overlap or leave gaps")
        at = end
    if at != size:
        raise _not_whole(file, f"its tensors take {at:,} bytes, and it holds {size:,}")
    return found


def _not_whole(file: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"{file} is not whole: {why}. Copy it again.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _config(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_CONFIG_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(
            f"{file.parent} holds no {CONFIG} that can be read ({error.strerror}). Give the folder of an adapter as PEFT saves it."
        ) from None
    try:
        said = json.loads(raw) if len(raw) <= MOST_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise InvalidRequest(
            f"{file} is no JSON object of at most {MOST_CONFIG_BYTES // 1024:,} KiB. Save the adapter with PEFT again."
        )
    return said


def _ranks(said: Mapping[str, Any], folder: Path) -> frozenset[int]:
    """Every rank that a layer may have."""
    pattern = said.get("rank_pattern") or {}
    ranks = [said.get("r"), *(pattern.values() if isinstance(pattern, Mapping) else [None])]
    if not all(type(rank) is int and 0 < rank <= MOST_RANK for rank in ranks):
        raise InvalidRequest(
            f"{folder / CONFIG} gives a rank `r` that is none: vLLM takes 1 to {MOST_RANK}. Train it with such a rank."
        )
    return frozenset(rank for rank in ranks if isinstance(rank, int))


def _refuse_unserved(said: Mapping[str, Any], folder: Path) -> None:
    """Raise InvalidRequest for what vLLM cannot serve, which it would say only when the model is started."""
    start = said.get("init_lora_weights")
    unserved = [words for key, words in NOT_SERVED.items() if said.get(key)]
    if said.get("bias", "none") != "none":
        unserved.append("biases")
    if isinstance(start, str) and start.lower() not in STARTS:
        unserved.append(f"init_lora_weights = {start!r}, which changes the base model itself")
    if said.get("peft_type") != "LORA":
        unserved.append(f"adapters of the kind {str(said.get('peft_type'))[:40]!r}: LORA is what it knows")
    if unserved:
        raise InvalidRequest(
            f"{folder} has what vLLM does not serve: {'; '.join(unserved)}. Train a plain LoRA adapter instead."
        )


def _modules(tensors: Mapping[str, Tensor], ranks: frozenset[int], folder: Path) -> dict[str, tuple[int, int]]:
    """The layers that an adapter changes, with the shape of each; raises InvalidRequest where its two halves do not fit."""
    halves: dict[str, dict[str, Tensor]] = {}
    rows: set[str] = set()
    for name, tensor in tensors.items():
        found = MODULE.fullmatch(name)
        if found is None or len(tensor.shape) != 2 or tensor.kind not in FLOATS:
            raise InvalidRequest(
                f"{folder / WEIGHTS} holds {name[:200]}, which is no part of a LoRA adapter. Save the adapter alone."
            )
        halves.setdefault(found["module"], {})[found["side"] or found["row"]] = tensor
        rows |= {found["module"]} if found["row"] else set()
    modules = {}
    for module, half in halves.items():
        a, b = half.get("A"), half.get("B")
        if a is None or b is None or a.shape[0] != b.shape[1] or a.shape[0] not in ranks:
            raise InvalidRequest(
                f"{folder / WEIGHTS}: the halves of {module} do not fit each other and the rank in {CONFIG}. Save the adapter again."
            )
        modules[module] = (a.shape[1], b.shape[0]) if module in rows else (b.shape[0], a.shape[1])
    if not modules:
        raise InvalidRequest(
            f"{folder / WEIGHTS} holds no layer: nothing was trained. Check the target_modules, and train it again."
        )
    return modules


def _refuse_untargeted(said: Mapping[str, Any], modules: Mapping[str, object], folder: Path) -> None:
    """Raise InvalidRequest where the weights are not those that the configuration speaks of."""
    target = said.get("target_modules")
    if isinstance(target, str) and target:
        return  # a pattern, or a word such as all-linear
    if not isinstance(target, list) or not target or not all(isinstance(one, str) and one for one in target):
        raise InvalidRequest(f"{folder / CONFIG} names no target_modules. Save the adapter with PEFT again.")
    for module in modules:
        if not any(module == one or module.endswith(f".{one}") for one in target):
            raise InvalidRequest(
                f"{folder / WEIGHTS} changes {module}, which is none of the target_modules in {CONFIG}: the two files belong to "
                "different adapters. Copy both again."
            )


def _weights_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model's folder; empty where there is none on this machine, or its weights are in another format."""
    files = sorted(folder.glob("*.safetensors"))[: MOST_FILES + 1] if folder.is_dir() else []
    if len(files) > MOST_FILES:
        raise TooLarge(f"{folder} holds more than {MOST_FILES:,} files of weights. Give the folder of one model.")
    return {name: tensor for file in files for name, tensor in contents(file).items()}


def _same_model(one: str, other: str) -> bool:
    return one == other or _last(one) == _last(other)


def _last(name: str) -> str:
    """The model's own name: the end of a path or of an id on a hub, also in the folder where a hub's files are kept."""
    kept = re.search(r"models--[^/\\]*--([^/\\]+)", name)
    return (kept[1] if kept else re.split(r"[/\\]", name.rstrip("/\\"))[-1]).casefold()
