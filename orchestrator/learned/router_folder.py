"""A router on disk: a folder with `model.npz` and `rows.npz` (numbers) and `model.json` (words, models, record).

All are held against their hashes when they are read (`stored.py`):

    <blobs>/routers/default/<version>/model.json, model.npz, rows.npz
    <blobs>/routers/default/attempts/NNNNNN.txt
    <blobs>/routers/default/current.json, rule.json          replaced atomically

`rows.npz` holds what was said of each row when it had not been seen, and what came of it, with a hash in place of its text: on the
rows that were held out thresholds are set, and nothing that was fitted is measured as if it had not been.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig, NotFound
from orchestrator.learned import stored
from orchestrator.learned.encoder import Encoder
from orchestrator.learned.projection import Floats, Projection
from orchestrator.learned.router import Router, tree_features
from orchestrator.learned.trees import ARRAYS, Trees

FORMAT: Final = "rightsize-router-1"
NAME: Final = "default"
_MAX_RULE_BYTES: Final = 1024 * 1024
_AGAIN: Final = "Train it with `rightsize router train --outcomes FILE.csv`."
T = TypeVar("T")


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
    home, version = home_of(blobs), str(record["version"])
    with stored.new_version(home, version) as writing:
        sums = {
            "model_sha256": stored.write_numbers(writing / "model.npz", _numbers(router)),
            "rows_sha256": stored.write_numbers(
                writing / "rows.npz", {**_rows("fitted", fitted), **_rows("held", held)}
            ),
        }
        document = {
            "format": FORMAT, "models": router.models, "encoder_sha256": encoder_sha256,
            "terms": router.signs.terms, **sums, "record": dict(record),
        }  # fmt: skip
        stored.describe(writing, document)
    stored.make_current(home, version)
    return home / version


def current(blobs: Path) -> Path | None:
    """The folder of the router in use, or None where there is none."""
    return stored.current_version(home_of(blobs), _AGAIN)


def load(folder: Path, encoder: Encoder | None) -> Stored:
    """A router with its record and rows; raises NotFound or InvalidConfig where the folder is missing or was changed."""

    def read(document: dict[str, Any]) -> Stored:
        numbers = stored.read_numbers(folder / "model.npz", document["model_sha256"])
        rows = stored.read_numbers(folder / "rows.npz", document["rows_sha256"])
        router = _router(document, numbers, _same_encoder(document["encoder_sha256"], encoder))
        return Stored(router, dict(document["record"]), _known(rows, "fitted"), _known(rows, "held"), folder)

    return _read(folder, read)


def check(folder: Path) -> tuple[str, ...]:
    """Hold all files of a router against their hashes; returns its models, and raises as `load` does."""

    def read(document: dict[str, Any]) -> tuple[str, ...]:
        stored.read_numbers(folder / "model.npz", document["model_sha256"])
        stored.read_numbers(folder / "rows.npz", document["rows_sha256"])
        return tuple(map(str, document["models"]))

    return _read(folder, read)


def needs_encoder(folder: Path) -> bool:
    """Whether the router in a folder looks at sentence vectors."""
    return _read(folder, lambda document: document["encoder_sha256"] is not None)


def _read(folder: Path, read: Callable[[dict[str, Any]], T]) -> T:
    try:
        return read(stored.described(folder, (FORMAT,)))
    except FileNotFoundError:
        raise NotFound(f"There is no router in {folder}. {_AGAIN}") from None
    except stored.DAMAGE as error:
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
    stored.replace_json(folder.parent / "rule.json", {"version": folder.name, **rule})


def current_rule(blobs: Path) -> dict[str, Any] | None:
    """The rule in use with all that is said of it, or None: also where it was set for another version of the router."""
    folder, path = current(blobs), home_of(blobs) / "rule.json"
    try:
        rule = dict(json.loads(stored.bounded(path, _MAX_RULE_BYTES)))
        return rule if folder is not None and rule["version"] == folder.name else None
    except FileNotFoundError:
        return None
    except stored.DAMAGE as error:
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
