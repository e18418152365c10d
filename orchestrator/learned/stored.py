"""Files of what was learned: numbers without pickle, held against a hash; a description that is held against its own; whole or not there.

A folder is written under a temporary name and renamed, and a file that is replaced likewise, so that nobody sees half of one. The hashes
tell of files that were changed or mixed up, and not of somebody who changes a file and its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig

Arrays = dict[str, NDArray[Any]]

DESCRIPTION: Final = "model.json"
CURRENT: Final = "current.json"
VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,62}", re.ASCII)
DAMAGE: Final = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, RecursionError)
"""What reading a file that was changed can raise."""
_MAX_FILE_BYTES: Final = 1024 * 1024 * 1024
_SEAL: Final = "sha256"


@contextmanager
def new_version(home: Path, version: str) -> Iterator[Path]:
    """A folder to write a version into, which has its name once the block is through, and is gone if it raises."""
    home.mkdir(parents=True, exist_ok=True)
    writing = home / f".writing-{secrets.token_hex(8)}"
    writing.mkdir()
    try:
        yield writing
        writing.rename(home / version)
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise


def make_current(home: Path, version: str) -> None:
    """Make a version the one in use."""
    replace_json(home / CURRENT, {"version": version})


def current_version(home: Path, again: str) -> Path | None:
    """The folder of the version in use, or None where there is none; raises InvalidConfig, which ends with what to do `again`."""
    path = home / CURRENT
    try:
        version = json.loads(bounded(path))["version"]
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        raise InvalidConfig(f"{path} cannot be read ({error}). {again}") from None
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise InvalidConfig(f"{path} names no version. {again}")
    return home / version


def describe(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the description of a folder, with a hash of all that it says."""
    plain = json.loads(json.dumps(document))  # as it will be read
    write_json(folder / DESCRIPTION, {**plain, _SEAL: _seal(plain)})


def described(folder: Path, formats: tuple[str, ...], *, unsealed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The description of a folder, of one of some formats; raises one of `DAMAGE`. Formats of older releases have no hash."""
    document: dict[str, Any] = json.loads(bounded(folder / DESCRIPTION))
    found = document["format"]
    if found in unsealed:
        return document
    if found not in formats:
        raise ValueError(f"its format is {str(found)[:40]!r}, not {formats[0]!r}")
    if document.pop(_SEAL, None) != _seal(document):
        raise ValueError(f"{DESCRIPTION} was changed since it was written")
    return document


def write_numbers(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write arrays by their names; returns the file's SHA-256."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type] # its stub takes the names for other options
        file.flush()
        os.fsync(file.fileno())
    return sha256_of(path)


def read_numbers(path: Path, sha256: str) -> Arrays:
    """The arrays of a file with that SHA-256; raises one of `DAMAGE`."""
    data = bounded(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path.name} is not the file that {DESCRIPTION} describes")
    with np.load(BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bounded(path: Path, most_bytes: int = _MAX_FILE_BYTES) -> bytes:
    """A file, unless it is longer than anything that was written here."""
    if path.stat().st_size > most_bytes:
        raise ValueError(f"{path.name} is over {most_bytes >> 20} MiB")
    return path.read_bytes()


def replace_json(path: Path, document: Mapping[str, Any]) -> None:
    """Put a document in the place of a file, at once."""
    fresh = path.with_name(f".{path.stem}-{secrets.token_hex(8)}")
    write_json(fresh, document)
    fresh.replace(path)


def write_json(path: Path, document: object) -> None:
    """Write a document, on the disk before the rename that makes it visible: a power cut leaves no empty file behind a name."""
    with path.open("w", encoding="ascii") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())


def _seal(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode("ascii")).hexdigest()
