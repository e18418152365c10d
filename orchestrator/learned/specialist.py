"""A specialist on disk: a folder with its numbers, its words and record, a card for people, and the rows kept aside to certify it.

No pickle anywhere: the numbers are read with `allow_pickle=False` once their SHA-256 has been compared, and a prediction needs no
library of training. A folder is written under a temporary name and renamed, so that a half-written one is never seen:

    <blobs>/specialists/<task>/<version>/model.npz, model.json, kept.json, card.md
    <blobs>/specialists/<task>/current.json          {"version": ...}, replaced atomically
    <blobs>/encoders/<name>/                         the encoder that several stand on
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig, InvalidRequest, NotFound
from orchestrator.learned import first_format
from orchestrator.learned.classifier import Field, Specialist
from orchestrator.learned.encoder import encoders_of, open_encoder
from orchestrator.learned.ngrams import NGrams
from orchestrator.learned.record import Kept, TrainingRecord

FORMAT: Final = "rightsize-specialist-2"
_TASK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,62}", re.ASCII)
_MAX_FILE_BYTES: Final = 1024 * 1024 * 1024

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")


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


def version_folder(blobs: Path, task: str, version: str) -> Path:
    """The folder of one version, whether it is there or not; raises InvalidRequest for what can be no version."""
    if not _VERSION.fullmatch(version):
        raise InvalidRequest(f"{version[:80]!r} cannot be the version of a specialist.", param="specialist")
    return task_folder(blobs, task) / version


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


def save(blobs: Path, specialist: Specialist, record: TrainingRecord, kept: Kept, card: str) -> Path:
    """Write a new version of a task's specialist and make it the current one; returns its folder."""
    home = task_folder(blobs, record.task)
    home.mkdir(parents=True, exist_ok=True)
    writing = home / f".writing-{secrets.token_hex(8)}"
    writing.mkdir()
    try:
        with (writing / "model.npz").open("wb") as file:
            np.savez(file, **_arrays(specialist))  # type: ignore[arg-type] # its stub takes the names for other options
            _settle(file.fileno())
        _write(writing / "kept.json", kept.as_dict())
        (writing / "card.md").write_text(card, encoding="utf-8", errors="replace")
        document = {
            "format": FORMAT,
            **_described(specialist),
            "npz_sha256": _sha256(writing / "model.npz"),
            "kept_sha256": _sha256(writing / "kept.json"),
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
    return _read(folder, _loaded)


def kept(folder: Path) -> Kept:
    """The scored rows that were kept aside with a specialist; raises as `load` does."""
    return _read(folder, _kept)


def model_sha256(specialist: Specialist) -> str:
    """The hash of all that a specialist answers by: the same rows, seed and libraries give the same."""
    digest = hashlib.sha256(json.dumps(_described(specialist), sort_keys=True).encode())
    for name, array in sorted(_arrays(specialist).items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _loaded(folder: Path, document: dict[str, Any]) -> tuple[Specialist, TrainingRecord]:
    arrays = _numbers(folder, document)
    record = TrainingRecord.from_dict(document["record"])
    if document["format"] == first_format.FORMAT:
        return first_format.specialist(document, arrays), record
    words, chars = document["words"], document["chars"]
    ngrams = NGrams(words, chars, arrays["word_idf"], arrays["char_idf"])
    fields = [
        Field(row["name"], row["labels"], {name: arrays[f"field_{at}_{name}"] for name in row["arrays"]})
        for at, row in enumerate(document["fields"])
    ]
    if document["encoder_sha256"] is None:
        return Specialist(fields, ngrams, arrays["scope"]), record
    try:
        encoder = open_encoder(encoders_of(folder.parents[2]))
    except NotFound as error:
        raise InvalidConfig(f"The specialist in {folder} cannot be asked. {error.message}") from None
    if encoder.sha256 != document["encoder_sha256"]:
        raise ValueError("it was trained on another sentence encoder than the one that is here")
    found = Specialist(
        fields, ngrams, arrays["scope"], encoder=encoder, centre=arrays["centre"], prototypes=arrays["prototypes"].astype(np.float32)
    )  # fmt: skip
    return found, record


def _kept(folder: Path, document: dict[str, Any]) -> Kept:
    if document["format"] == first_format.FORMAT:
        return Kept((), (), frozenset())
    data = (folder / "kept.json").read_bytes()
    if hashlib.sha256(data).hexdigest() != document["kept_sha256"]:
        raise ValueError("kept.json is not the file that model.json describes")
    return Kept.from_dict(json.loads(data))


def _read(folder: Path, read: Callable[[Path, dict[str, Any]], T]) -> T:
    try:
        for path in folder.iterdir():
            if path.stat().st_size > _MAX_FILE_BYTES:
                raise ValueError(f"{path.name} is over {_MAX_FILE_BYTES >> 20} MiB")
        document = json.loads((folder / "model.json").read_bytes())
        if document["format"] not in (FORMAT, first_format.FORMAT):
            raise ValueError(f"its format is {str(document['format'])[:40]!r}, not {FORMAT!r}")
        return read(folder, document)
    except FileNotFoundError:
        raise NotFound(f"There is no specialist in {folder}. {_again(folder.parent.name)}") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RecursionError) as error:
        raise InvalidConfig(f"The specialist in {folder} is damaged: {error}. {_again(folder.parent.name)}") from None


def _numbers(folder: Path, document: dict[str, Any]) -> Arrays:
    with (folder / "model.npz").open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != document["npz_sha256"]:
            raise ValueError("model.npz is not the file that model.json describes")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _arrays(specialist: Specialist) -> Arrays:
    """All numbers by the names that they have in the file. Vectors are kept in half precision, in which they are used too."""
    found: Arrays = {
        "word_idf": specialist.ngrams.idf[0],
        "char_idf": specialist.ngrams.idf[1],
        "scope": specialist.scope,
    }
    for at, field in enumerate(specialist.fields):
        found |= {f"field_{at}_{name}": array for name, array in field.arrays.items()}
    if specialist.prototypes is not None and specialist.centre is not None:
        found |= {"centre": specialist.centre, "prototypes": specialist.prototypes.astype(np.float16)}
    return found


def _described(specialist: Specialist) -> dict[str, Any]:
    words, chars = specialist.ngrams.vocabularies
    return {
        "fields": [{"name": one.name, "labels": one.labels, "arrays": sorted(one.arrays)} for one in specialist.fields],
        "words": words,
        "chars": chars,
        "encoder_sha256": None if specialist.encoder is None else specialist.encoder.sha256,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
