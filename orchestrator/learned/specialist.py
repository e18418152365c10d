"""A specialist on disk: a folder with its numbers, its words and record, a card for people, and the rows kept aside to certify it.

Both are held against their hashes when they are read (`stored.py`), and a prediction needs no library of training:

    <blobs>/specialists/<task>/<version>/model.npz, model.json, kept.json, card.md
    <blobs>/specialists/<task>/current.json          {"version": ...}, replaced atomically
    <blobs>/encoders/<name>/                         the encoder that several stand on
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from orchestrator.errors import InvalidConfig, InvalidRequest, NotFound
from orchestrator.learned import first_format, stored
from orchestrator.learned.classifier import Field, Specialist
from orchestrator.learned.encoder import encoders_of, open_encoder
from orchestrator.learned.ngrams import NGrams
from orchestrator.learned.record import Kept, TrainingRecord

FORMAT: Final = "rightsize-specialist-2"
_TASK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)

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
    if not stored.VERSION.fullmatch(version):
        raise InvalidRequest(f"{version[:80]!r} cannot be the version of a specialist.", param="specialist")
    return task_folder(blobs, task) / version


def current_folder(blobs: Path, task: str) -> Path | None:
    """The folder of the version that answers now, or None for a task without a specialist."""
    return stored.current_version(task_folder(blobs, task), _again(task))


def tasks_with_specialists(blobs: Path) -> tuple[str, ...]:
    """The tasks that have a specialist, by name."""
    return tuple(sorted(path.parent.name for path in (blobs / "specialists").glob("*/current.json")))


def save(blobs: Path, specialist: Specialist, record: TrainingRecord, kept: Kept, card: str) -> Path:
    """Write a new version of a task's specialist and make it the current one; returns its folder."""
    home = task_folder(blobs, record.task)
    with stored.new_version(home, record.version) as writing:
        npz_sha256 = stored.write_numbers(writing / "model.npz", _arrays(specialist))
        stored.write_json(writing / "kept.json", kept.as_dict())
        (writing / "card.md").write_text(card, encoding="utf-8", errors="replace")
        stored.describe(
            writing,
            {
                "format": FORMAT, **_described(specialist), "npz_sha256": npz_sha256,
                "kept_sha256": stored.sha256_of(writing / "kept.json"), "record": record.as_dict(),
            },
        )  # fmt: skip
    stored.make_current(home, record.version)
    return home / record.version


def load(folder: Path) -> tuple[Specialist, TrainingRecord]:
    """A specialist and its record; raises NotFound or InvalidConfig where the folder is missing or damaged."""
    return _read(folder, _loaded)


def check(folder: Path) -> None:
    """Hold all files of a specialist against their hashes; raises as `load` does."""
    kept(folder)
    _read(folder, lambda folder, document: stored.read_numbers(folder / "model.npz", document["npz_sha256"]))


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
    arrays = stored.read_numbers(folder / "model.npz", document["npz_sha256"])
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
    data = stored.bounded(folder / "kept.json")
    if hashlib.sha256(data).hexdigest() != document["kept_sha256"]:
        raise ValueError("kept.json is not the file that model.json describes")
    return Kept.from_dict(json.loads(data))


def _read(folder: Path, read: Callable[[Path, dict[str, Any]], T]) -> T:
    try:
        return read(folder, stored.described(folder, (FORMAT,), unsealed=(first_format.FORMAT,)))
    except FileNotFoundError:
        raise NotFound(f"There is no specialist in {folder}. {_again(folder.parent.name)}") from None
    except stored.DAMAGE as error:
        raise InvalidConfig(f"The specialist in {folder} is damaged: {error}. {_again(folder.parent.name)}") from None


def _arrays(specialist: Specialist) -> stored.Arrays:
    """All numbers by the names that they have in the file. Vectors are kept in half precision, in which they are used too."""
    found: stored.Arrays = {
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


def _again(task: str) -> str:
    return f"Train it with `rightsize train {task} --labels FILE.csv`."
