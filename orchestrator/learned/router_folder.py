"""A router on disk: a folder with `model.npz` and `rows.npz` (numbers) and `model.json` (words, models, record).

No pickle anywhere: the numbers are read with `allow_pickle=False` once their SHA-256 has been compared. A folder is written under
a temporary name and renamed, so that a half-written one is never seen:

    <blobs>/routers/default/<version>/model.json, model.npz, rows.npz
    <blobs>/routers/default/attempts/NNNNNN.txt
    <blobs>/routers/default/current.json, rule.json          replaced atomically

`rows.npz` holds what was said of each row when it had not been seen, and what came of it, with a hash in place of its text: on the
rows that were held out thresholds are set, and nothing that was fitted is measured as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig, NotFound
from orchestrator.learned.encoder import Encoder
from orchestrator.learned.projection import Floats, Projection
from orchestrator.learned.router import Router, tree_features
from orchestrator.learned.trees import ARRAYS, Trees

FORMAT: Final = "rightsize-router-1"
NAME: Final = "default"
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,62}", re.ASCII)
_MAX_FILE_BYTES: Final = 1024 * 1024 * 1024
_MAX_RULE_BYTES: Final = 1024 * 1024
_AGAIN: Final = "Train it with `rightsize router train --outcomes FILE.csv`."


@dataclass(frozen=True, slots=True)
class Known:
    """Rows whose outcomes are known, and what was said of them unseen."""

    hashes: NDArray[np.uint64]
    said: Floats
    """[rows, models]"""
    values: Floats
    """[rows, models]"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A router as it was stored."""

    router: Router
    record: dict[str, Any]
    fitted: Known
    held: Known
    folder: Path


def home_of(blobs: Path) -> Path:
    """Where all versions of the router lie."""
    return blobs / "routers" / NAME


def save(
    blobs: Path, router: Router, record: Mapping[str, Any], fitted: Known, held: Known, encoder_sha256: str | None
) -> Path:
    """Write a new version of the router and make it the current one; returns its folder. The rule of the one before goes."""
    home = home_of(blobs)
    home.mkdir(parents=True, exist_ok=True)
    writing = home / f".writing-{secrets.token_hex(8)}"
    writing.mkdir()
    try:
        sums = {
            "model_sha256": _write_numbers(writing / "model.npz", _numbers(router)),
            "rows_sha256": _write_numbers(writing / "rows.npz", {**_rows("fitted", fitted), **_rows("held", held)}),
        }
        document = {
            "format": FORMAT, "models": router.models, "encoder_sha256": encoder_sha256,
            "terms": router.signs.terms, **sums, "record": dict(record),
        }  # fmt: skip
        _write(writing / "model.json", document)
        folder = home / str(record["version"])
        writing.rename(folder)
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise
    _replace(home / "current.json", {"version": record["version"]})
    return folder


def current(blobs: Path) -> Path | None:
    """The folder of the router in use, or None where there is none."""
    home = home_of(blobs)
    try:
        version = json.loads((home / "current.json").read_bytes())["version"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidConfig(f"{home / 'current.json'} cannot be read ({error}). {_AGAIN}") from None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidConfig(f"{home / 'current.json'} names no version. {_AGAIN}")
    return home / version


def load(folder: Path, encoder: Encoder | None) -> Stored:
    """A router with its record and rows; raises NotFound or InvalidConfig where the folder is missing or was changed."""
    try:
        document = json.loads(_bounded(folder / "model.json"))
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {str(document['format'])[:40]!r}, not {FORMAT!r}")
        numbers = _read_numbers(folder / "model.npz", document["model_sha256"])
        rows = _read_numbers(folder / "rows.npz", document["rows_sha256"])
        router = _router(document, numbers, _same_encoder(document["encoder_sha256"], encoder))
        return Stored(router, dict(document["record"]), _known(rows, "fitted"), _known(rows, "held"), folder)
    except FileNotFoundError:
        raise NotFound(f"There is no router in {folder}. {_AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError) as error:
        raise InvalidConfig(f"The router in {folder} is damaged: {error}. {_AGAIN}") from None


def needs_encoder(folder: Path) -> bool:
    """Whether the router in a folder looks at sentence vectors."""
    try:
        return json.loads(_bounded(folder / "model.json"))["encoder_sha256"] is not None
    except FileNotFoundError:
        raise NotFound(f"There is no router in {folder}. {_AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidConfig(f"The router in {folder} is damaged: {error}. {_AGAIN}") from None


def attempt_of(folder: Path, tried_sha256: str) -> int:
    """Which attempt this is to set a threshold of a router: the same number again for the same rows, outcomes, thresholds and costs.

    A number is taken before anything is counted, and two attempts never have the same. Attempts of all versions count together: one that
    was trained anew may be held to the very same rows.
    """
    attempts = folder.parent / "attempts"
    attempts.mkdir(exist_ok=True)
    while True:
        taken = {int(path.stem): path.read_text("ascii").strip() for path in attempts.glob("[0-9]*.txt")}
        if found := [number for number, sha256 in taken.items() if sha256 == tried_sha256]:
            return min(found)
        number = 1 + max(taken, default=0)
        try:
            with (attempts / f"{number:06}.txt").open("x", encoding="ascii") as file:
                file.write(tried_sha256)
        except FileExistsError:
            continue
        return number


def put_rule(folder: Path, rule: Mapping[str, Any]) -> None:
    """Make a rule the one in use for the router in a folder."""
    _replace(folder.parent / "rule.json", {"version": folder.name, **rule})


def current_rule(blobs: Path) -> dict[str, Any] | None:
    """The rule in use with all that is said of it, or None: also where it was set for another version of the router."""
    folder, path = current(blobs), home_of(blobs) / "rule.json"
    try:
        if path.stat().st_size > _MAX_RULE_BYTES:
            raise ValueError("it is too long")
        rule = dict(json.loads(path.read_bytes()))
        return rule if folder is not None and rule["version"] == folder.name else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidConfig(f"{path} cannot be read ({error}). Set it again: rightsize router calibrate") from None


def _numbers(router: Router) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {**router.arrays, "idf": router.signs.idf, "matrix": router.signs.matrix}
    return found | {f"tree_{name}": array for name, array in router.trees.arrays.items()}


def _router(document: Mapping[str, Any], numbers: Mapping[str, NDArray[Any]], encoder: Encoder | None) -> Router:
    signs = Projection(document["terms"], numbers["idf"], numbers["matrix"])
    models = tuple(map(str, document["models"]))
    trees = Trees(
        {name: numbers[f"tree_{name}"] for name in ARRAYS}, tree_features(signs.matrix.shape[1] - len(models))
    )
    own = {
        name: array for name, array in numbers.items() if name not in ("idf", "matrix") and not name.startswith("tree_")
    }
    return Router(models, signs, trees, own, encoder)


def _same_encoder(sha256: str | None, encoder: Encoder | None) -> Encoder | None:
    if sha256 is None:
        return None
    if encoder is None or encoder.sha256 != sha256:
        raise ValueError("it was trained with another sentence encoder than the one that is here")
    return encoder


def _rows(part: str, known: Known) -> dict[str, NDArray[Any]]:
    return {f"{part}_hashes": known.hashes, f"{part}_said": known.said, f"{part}_values": known.values}


def _known(rows: Mapping[str, NDArray[Any]], part: str) -> Known:
    known = Known(rows[f"{part}_hashes"], rows[f"{part}_said"], rows[f"{part}_values"])
    if known.said.shape != known.values.shape or len(known.hashes) != len(known.said) or known.said.ndim != 2:
        raise ValueError("its rows do not fit together")
    return known


def _write_numbers(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type] # its stub takes the names for other options
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_numbers(path: Path, sha256: str) -> dict[str, NDArray[Any]]:
    data = _bounded(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path.name} is not the file that model.json describes")
    with np.load(BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is over {_MAX_FILE_BYTES >> 20} MiB")
    return path.read_bytes()


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    fresh = path.with_name(f".{path.stem}-{secrets.token_hex(8)}")
    _write(fresh, document)
    fresh.replace(path)


def _write(path: Path, document: object) -> None:
    with path.open("w", encoding="ascii") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())  # on the disk before the rename that makes it visible
