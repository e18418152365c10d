"""A specialist on disk and in memory: a folder with `model.npz` (numbers) and `model.json` (words, labels, record).

No pickle anywhere: the numbers are read with `allow_pickle=False` once their SHA-256 has been compared, and a prediction
needs numpy alone. A folder is written under a temporary name and renamed, so that a half-written one is never seen:

    <blobs>/specialists/<task>/<version>/model.npz, model.json
    <blobs>/specialists/<task>/current.json          {"version": ...}, replaced atomically
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig, InvalidRequest, NotFound
from orchestrator.rightsizing.features import char_terms, word_terms

FORMAT: Final = "rightsize-specialist-1"
_TASK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,62}", re.ASCII)
_ARRAYS: Final = ("word_idf", "char_idf", "coef", "intercept")
_AT_ONCE: Final = 1 << 20
"""Numbers of one product, at most, unless a single text needs more: 4 MB, which stay in the processor's cache."""
_MAX_FILE_BYTES: Final = 1024 * 1024 * 1024

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """Where a specialist comes from, and how good it was on rows that it had not seen."""

    task: str
    version: str
    n: int
    labels: tuple[str, ...]
    class_counts: dict[str, int]
    held_out_n: int
    held_out_accuracy: float
    baseline_accuracy: float
    """What always answering the commonest label would have reached on the same held-out rows."""
    per_class: dict[str, dict[str, float]]
    duplicates: int
    """Rows whose text came before; they never stand on both sides of the hold-out."""
    features: int
    seed: int
    trained_at: str
    seconds: float
    libraries: dict[str, str]
    data_sha256: str
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON has it."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Self:
        """The record that `as_dict` wrote."""
        known = {field.name: row[field.name] for field in fields(cls)}
        return cls(**{**known, "labels": tuple(row["labels"])})


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label, and the probability that the specialist gives it."""

    label: str
    confidence: float


class Specialist:
    """A linear classifier over TF-IDF of words and of characters, ready to predict. Never changed once made."""

    __slots__ = ("_blocks", "_coef", "_intercept", "arrays", "labels", "vocabularies")

    def __init__(
        self, labels: Sequence[str], words: Sequence[str], chars: Sequence[str], arrays: dict[str, Floats]
    ) -> None:
        shapes = {name: arrays[name].shape for name in _ARRAYS}
        count = len(words) + len(chars)
        wanted = {"word_idf": (len(words),), "char_idf": (len(chars),), "intercept": (len(labels),)}
        if shapes != {**wanted, "coef": (count, len(labels))} or len(set(labels)) != len(labels) or len(labels) < 2:
            raise ValueError("the numbers do not fit the words and labels")
        if any(arrays[name].dtype != np.float32 or not np.isfinite(arrays[name]).all() for name in _ARRAYS):
            raise ValueError("the numbers are of the wrong kind")
        self.labels = tuple(labels)
        self.vocabularies = (tuple(words), tuple(chars))
        self.arrays = arrays
        self._coef, self._intercept = arrays["coef"], arrays["intercept"]
        places = ({term: at for at, term in enumerate(terms)} for terms in (words, chars))
        self._blocks = tuple(
            (analyse, place, arrays[idf], offset)
            for analyse, place, idf, offset in zip(
                (word_terms, char_terms), places, ("word_idf", "char_idf"), (0, len(words)), strict=True
            )
        )

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The likeliest label of each text."""
        if not texts:
            return []
        odds = self.probabilities(texts)
        best = odds.argmax(axis=1)
        return [Prediction(self.labels[at], float(row[at])) for at, row in zip(best, odds, strict=True)]

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """The probability of each label for each text: shape (texts, labels). A text's do not depend on its neighbours."""
        scores = np.tile(self._intercept, (len(texts), 1))
        for analyse, place, idf, offset in self._blocks:
            self._add(scores, [_places(analyse(text), place) for text in texts], idf, offset)
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def _add(self, scores: Floats, found: list[list[int]], idf: Floats, offset: int) -> None:
        """Add what the terms of all texts say, in one pass: (text, term) pairs are counted, weighted and summed by text."""
        size = len(idf)
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        flat = np.fromiter(chain.from_iterable(found), np.int64, int(lengths.sum()))
        flat += np.repeat(np.arange(len(found)) * size, lengths)
        pairs, counts = np.unique(flat, return_counts=True)
        if not len(pairs):
            return
        row, term = np.divmod(pairs, size)
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        weights = (1 + np.log(counts.astype(np.float32))) * idf[term]
        norms = np.sqrt(np.add.reduceat(weights * weights, starts))
        ends = np.append(starts[1:], len(row))
        weights /= np.repeat(norms, ends - starts)
        term += offset
        # Whole texts at a time, as many as keep the product small: it has a number for every pair and label.
        most = max(1, _AT_ONCE // len(self.labels))
        first = 0
        while first < len(starts):
            last = max(first + 1, int(np.searchsorted(ends, starts[first] + most, side="right")))
            low, high = starts[first], ends[last - 1]
            part = weights[low:high, None] * self._coef[term[low:high]]
            scores[row[starts[first:last]]] += np.add.reduceat(part, starts[first:last] - low, axis=0)
            first = last


def _places(terms: Sequence[str], place: dict[str, int]) -> list[int]:
    return [at for at in map(place.get, terms) if at is not None]


def check_task(task: str) -> str:
    """The name of a task, if it can be one; raises InvalidRequest otherwise."""
    if not _TASK.fullmatch(task):
        raise InvalidRequest(
            f"{task[:80]!r} cannot be the name of a task. Use up to 63 small letters, digits and hyphens, such as support-triage.",
            param="task",
        )
    return task


def task_folder(blobs: Path, task: str) -> Path:
    """Where all versions of a task's specialist lie."""
    return blobs / "specialists" / check_task(task)


def current_folder(blobs: Path, task: str) -> Path | None:
    """The folder of the version that answers now, or None for a task without a specialist."""
    folder = task_folder(blobs, task)
    try:
        version = json.loads((folder / "current.json").read_bytes())["version"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidConfig(f"{folder / 'current.json'} cannot be read ({error}). {_again(task)}") from None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidConfig(f"{folder / 'current.json'} names no version. {_again(task)}")
    return folder / version


def tasks_with_specialists(blobs: Path) -> tuple[str, ...]:
    """The tasks that have a specialist, by name."""
    return tuple(sorted(path.parent.name for path in (blobs / "specialists").glob("*/current.json")))


def save(blobs: Path, specialist: Specialist, record: TrainingRecord) -> Path:
    """Write a new version of a task's specialist and make it the current one; returns its folder."""
    home = task_folder(blobs, record.task)
    home.mkdir(parents=True, exist_ok=True)
    writing = home / f".writing-{secrets.token_hex(8)}"
    writing.mkdir()
    try:
        with (writing / "model.npz").open("wb") as file:
            np.savez(file, **specialist.arrays)  # type: ignore[arg-type] # its stub takes the names for other options
            _settle(file.fileno())
        words, chars = specialist.vocabularies
        document = {
            "format": FORMAT,
            "labels": specialist.labels,
            "words": words,
            "chars": chars,
            "npz_sha256": hashlib.sha256((writing / "model.npz").read_bytes()).hexdigest(),
            "record": record.as_dict(),
        }
        _write(writing / "model.json", document)
        folder = home / record.version
        writing.rename(folder)
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise
    fresh = home / f".current-{secrets.token_hex(8)}"
    _write(fresh, {"version": record.version})
    fresh.replace(home / "current.json")
    return folder


def load(folder: Path) -> tuple[Specialist, TrainingRecord]:
    """A specialist and its record; raises NotFound or InvalidConfig where the folder is missing or damaged."""
    try:
        for name in ("model.json", "model.npz"):
            if (folder / name).stat().st_size > _MAX_FILE_BYTES:
                raise ValueError(f"{name} is over {_MAX_FILE_BYTES >> 20} MiB")
        document = json.loads((folder / "model.json").read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {str(document['format'])[:40]!r}, not {FORMAT!r}")
        with (folder / "model.npz").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != document["npz_sha256"]:
                raise ValueError("model.npz is not the file that model.json describes")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in _ARRAYS}
        specialist = Specialist(document["labels"], document["words"], document["chars"], arrays)
        return specialist, TrainingRecord.from_dict(document["record"])
    except FileNotFoundError:
        raise NotFound(f"There is no specialist in {folder}. {_again(folder.parent.name)}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise InvalidConfig(f"The specialist in {folder} is damaged: {error}. {_again(folder.parent.name)}") from None


def _again(task: str) -> str:
    return f"Train it with `rightsize train {task} --labels FILE.csv`."


def _write(path: Path, document: object) -> None:
    with path.open("w", encoding="ascii") as file:
        json.dump(document, file)
        file.flush()
        _settle(file.fileno())


def _settle(descriptor: int) -> None:
    """On the disk before the rename that makes it visible, so that a power cut leaves no empty file behind a name."""
    os.fsync(descriptor)
