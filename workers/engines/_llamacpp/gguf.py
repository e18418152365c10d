"""Reads the header of a GGUF file, and says what is wrong with the file before llama.cpp sees it.

llama.cpp ends its process on some broken files. So the header is read here first, every count in it bounded by the size of
the file, and the end of each tensor compared with the end of the file: half a download is found in milliseconds.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import InvalidConfig

MAGIC: Final = b"GGUF"
HASHED_WHOLE: Final = 1 << 30
"""A file up to this size, in bytes, is known by the hash of all of it; a larger one by that of its header and its size."""
_CONTROL: Final = 3
"""The type of a token that steers the model and is never text."""
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS: Final = 8

_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""ggml's number of a tensor's type -> values in a block, bytes of a block."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a GGUF file says of itself."""

    path: Path
    size: int
    """Bytes of all its parts."""
    revision: str
    architecture: str
    name: str
    context: int
    """The longest context that it was trained for, in tokens; 0 where the file does not tell."""
    has_template: bool
    takes_tools: bool
    """Whether its chat template has a place for tools."""
    pools: bool
    """Whether it says how the vectors of a text become one, as models for embeddings do."""
    control_tokens: tuple[str, ...]
    kv_bytes: int
    """What one token takes in the key-value cache, in bytes, at 16 bits a value; 0 where the file does not tell."""


def read_weights(path: Path, where: str) -> Weights:
    """The checked header of the file at `path` and of its further parts; raises InvalidConfig that names `where`."""
    try:
        header = _header(path, where)
        parts = [path, *_further_parts(path, header.values, where)]
        for part in parts[1:]:
            _header(part, where)
        size = sum(part.stat().st_size for part in parts)
        revision = _revision(path, size, header.end, alone=len(parts) == 1)
        if "general.architecture" not in header.values or not (header.tensors or len(parts) > 1):
            raise _Broken("it holds no model")
        return _weights(path, size, revision, header.values)
    except OSError as error:
        raise InvalidConfig(
            f"{where}: cannot read {error.filename or path}: {error.strerror}. Give the path of a GGUF file."
        ) from error
    except (struct.error, _Broken, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A value of another type than it should have shows where it is used.
        raise InvalidConfig(f"{where}: {path} is a broken GGUF file ({error}). Fetch it again.") from None


class _Broken(Exception):
    """The file contradicts itself."""


@dataclass(frozen=True, slots=True)
class _Header:
    values: dict[str, Any]
    tensors: int
    end: int


def _header(path: Path, where: str) -> _Header:
    if path.is_dir():
        raise InvalidConfig(f"{where}: {path} is a folder. llama.cpp reads one GGUF file: name it.")
    with path.open("rb") as file:
        start = file.read(8)
        if start[:4] != MAGIC or len(start) < 8:
            raise InvalidConfig(
                f"{where}: {path} is not a GGUF file. Convert the model with llama.cpp's convert_hf_to_gguf.py, "
                'or serve its folder with engine "vllm".'
            )
        version = struct.unpack("<I", start[4:])[0]
        if version not in (2, 3):
            raise InvalidConfig(
                f"{where}: {path} is GGUF of version {version}; versions 2 and 3 are read (little-endian)."
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).header()


class _Reader:
    """Walks through a header; whatever it is told to read has to lie within the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 8

    def header(self) -> _Header:
        tensors, pairs = self._unpack("Q"), self._unpack("Q")
        self._bounded(tensors * 24 + pairs * 13)
        values = {self._text(): self._value(self._unpack("I"), 0) for _ in range(pairs)}
        ends = [self._tensor_end() for _ in range(tensors)]
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise _Broken("its alignment is no number")
        start = -(-self._at // alignment) * alignment
        needed, there = start + max(ends, default=0), len(self._data)
        if needed > there:
            raise _Broken(f"it ends after {there:,} bytes, and its tensors need {needed:,}")
        return _Header(values, tensors, self._at)

    def _tensor_end(self) -> int:
        self._text()
        dimensions = self._unpack("I")
        if dimensions > _MOST_DIMENSIONS:
            raise _Broken(f"a tensor has {dimensions} dimensions")
        shape = [self._unpack("Q") for _ in range(dimensions)]
        kind, offset = self._unpack("I"), self._unpack("Q")
        values, size = _BLOCKS.get(kind, (1, 0))  # of a type that came later only the beginning is checked
        end: int = offset + prod(shape) // values * size
        return end

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _SCALARS:
            return self._unpack(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY or depth > 2:
            raise _Broken(f"a value has the unknown type {kind}")
        inner, count = self._unpack("I"), self._unpack("Q")
        if inner in _SCALARS:
            form = f"<{count}{_SCALARS[inner]}"
            self._bounded(count)
            self._bounded(struct.calcsize(form))
            found = struct.unpack_from(form, self._data, self._at)
            self._at += struct.calcsize(form)
            return found
        self._bounded(count * 8)
        return tuple(self._value(inner, depth + 1) for _ in range(count))

    def _text(self) -> str:
        length = self._unpack("Q")
        self._bounded(length)
        found = self._data[self._at : self._at + length]
        self._at += length
        return found.decode("utf-8", "surrogateescape")

    def _unpack(self, form: str) -> Any:
        found = struct.unpack_from(f"<{form}", self._data, self._at)[0]
        self._at += struct.calcsize(form)
        return found

    def _bounded(self, length: int) -> None:
        if self._at + length > len(self._data):
            raise _Broken("it ends within its header")


def _further_parts(path: Path, values: dict[str, Any], where: str) -> list[Path]:
    """The other files of a model that is split."""
    count = values.get("split.count", 0)
    if count <= 1:
        return []
    ending = f"-00001-of-{count:05}.gguf"
    if not path.name.endswith(ending):
        raise InvalidConfig(f"{where}: {path} is a part of a model in {count} files. Name the first, *{ending}.")
    stem = path.name.removesuffix(ending)
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(2, count + 1)]


def _revision(path: Path, size: int, header_end: int, *, alone: bool) -> str:
    """The beginning of a SHA-256: of the whole file, or of the header and the size where that would take too long."""
    whole = alone and size <= HASHED_WHOLE
    with path.open("rb") as file:
        if whole:
            digest = hashlib.file_digest(file, "sha256")
        else:
            digest = hashlib.sha256(file.read(header_end))
            digest.update(str(size).encode())
    return f"{'sha256' if whole else 'header-sha256'}:{digest.hexdigest()[:16]}"


def _weights(path: Path, size: int, revision: str, values: dict[str, Any]) -> Weights:
    architecture = str(values.get("general.architecture", ""))

    def own(key: str) -> Any:
        return values.get(f"{architecture}.{key}")

    tokens, kinds = values.get("tokenizer.ggml.tokens", ()), values.get("tokenizer.ggml.token_type", ())
    control = tuple(token for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL and len(token) > 1)
    return Weights(
        path=path,
        size=size,
        revision=f"{path.stem[:80]}@{revision}",
        architecture=architecture,
        name=str(values.get("general.name", path.stem)),
        context=_whole(own("context_length")),
        has_template="tokenizer.chat_template" in values,
        takes_tools="tools" in str(values.get("tokenizer.chat_template", "")),
        pools=own("pooling_type") is not None,
        control_tokens=control,
        kv_bytes=_kv_bytes(own),
    )


def _kv_bytes(own: Any) -> int:
    """Keys and values of all layers, two bytes each."""
    layers, heads = _whole(own("block_count")), own("attention.head_count_kv") or own("attention.head_count")
    if not layers or not _whole(own("attention.head_count")):
        return 0
    length = _whole(own("embedding_length")) // _whole(own("attention.head_count"))
    width = (_whole(own("attention.key_length")) or length) + (_whole(own("attention.value_length")) or length)
    total = sum(heads) if isinstance(heads, tuple) else layers * _whole(heads)
    return int(total * width * 2)


def _whole(value: object) -> int:
    if isinstance(value, tuple):
        value = max(value, default=0)
    return value if isinstance(value, int) else 0
