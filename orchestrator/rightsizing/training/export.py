"""Answers of a task as training data for a language model: chats in JSONL, in three files that share no text, and where each came from.

    FOLDER/train.jsonl, validation.jsonl, test.jsonl    a line each: {"messages": [...], "provenance": {...}}
    FOLDER/manifest.json                                counts, hashes, models, and what was left out and why

The folder appears once it is whole. In which file a row stands is decided by a hash of its group alone, so that equal texts and rows
of one document never stand on both sides, and a later export puts them where they were.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, get_args

import orjson

from orchestrator.errors import Conflict, InvalidRequest, TooLarge

FORMAT: Final = "rightsize-chats-1"
Source = Literal["label", "review", "feedback", "reference"]
"""Who says that the answer is right: a label that was given, a person's review, a caller's feedback, or nobody but the model itself."""
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
"""The same, the strongest first: of equal texts the row with the strongest source is kept."""
OF_PEOPLE: Final = frozenset({"label", "review"})
"""What these say of one text must agree."""
Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
LEAST_ROWS: Final = 50
"""Fewer rows than these are no training data."""
MOST_ROWS: Final = 1_000_000
MOST_LINE_BYTES: Final = 1024 * 1024
MOST_NAMED: Final = 20
"""Contradictions that the manifest names by their jobs."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request of a task with the answer that is to be learned."""

    messages: Sequence[Mapping[str, Any]]
    """What was asked, as the request had it: all of it but the answer."""
    answer: str
    source: Source
    task_version: int
    job_id: str | None = None
    model: str | None = None
    """Who wrote the answer; None for a label that was given without one."""
    revision: str | None = None
    simulated: bool = False
    answered_on: date | None = None
    group: str | None = None
    """Rows of one group stand in one file, such as all that was asked about one document; by their text alone where there is none."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the groups is held out of training."""

    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.validation < 1 and 0 <= self.test < 1 and self.validation + self.test < 1):
            raise InvalidRequest(
                f"Shares of {self.validation} for validation and {self.test} for test leave nothing to train on. "
                "Give two shares from 0 that together stay below 1, such as 0.1 and 0.1."
            )


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, as the manifest has it."""

    task: str
    made_at: datetime
    salt: str
    shares: Shares
    files: Mapping[str, Mapping[str, Any]]
    """By name: `rows`, `bytes` and `sha256`."""
    rows_read: int
    kept: int
    left_out: Mapping[str, int]
    contradictions: Sequence[str]
    """Some jobs of texts whose labels contradict each other: none of these texts was kept."""
    sources: Mapping[str, int]
    models: Mapping[str, int]
    """Rows by the model that answered, with its revision."""
    task_versions: Mapping[str, int]
    simulated: int
    """Rows whose answers are made up."""

    def as_dict(self) -> dict[str, Any]:
        """The manifest as JSON has it."""
        return {
            "format": FORMAT, "task": self.task, "made_at": self.made_at.isoformat(timespec="seconds"), "salt": self.salt,
            "shares": {"validation": self.shares.validation, "test": self.shares.test}, "files": dict(self.files),
            "rows_read": self.rows_read, "kept": self.kept, "left_out": dict(self.left_out), "contradictions": list(self.contradictions),
            "sources": dict(self.sources), "models": dict(self.models), "task_versions": dict(self.task_versions),
            "simulated": self.simulated,
        }  # fmt: skip


@dataclass(slots=True)
class _Row:
    """A row that was written to the spool, and what its neighbours of equal text are held against."""

    strength: tuple[int, int]
    """The lower the stronger: its source, then how old its task is."""
    answer: bytes
    at: int
    size: int
    split: Split
    job_id: str
    contradicted: bool = False


@dataclass(slots=True)
class _Tally:
    """What is counted on the way."""

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    simulated: int = 0


def export(
    rows: Iterable[Example], folder: Path, *, task: str, made_at: datetime, salt: str = "", shares: Shares | None = None
) -> Exported:
    """Write the rows of a task to a folder that is not there yet, or empty; the same rows and salt give the same bytes.

    Of equal texts one is kept, by the strength of its source. Raises Conflict where the folder holds something, InvalidRequest where
    fewer than LEAST_ROWS rows are left, a file would be empty, or nothing can be written, and TooLarge for more than MOST_ROWS.
    """
    _refuse_full(folder)
    target = Path(os.path.normpath(folder.absolute()))
    shares, building = shares or Shares(), target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        building.mkdir(parents=True)
        with (building / "spool").open("w+b") as spool:
            tally = _Tally()
            kept = _spooled(rows, spool, tally, salt, shares)
            named = [row.job_id for row in kept if row.contradicted and row.job_id][:MOST_NAMED]
            sound = [row for row in kept if not row.contradicted]
            tally.left_out["contradicted"] += len(kept) - len(sound)
            _refuse_few(task, len(sound), tally)
            _refuse_empty(task, sound, shares)
            files = {f"{split}.jsonl": _written(building, split, sound, spool, tally) for split in SPLITS}
        (building / "spool").unlink()
        left_out = {why: count for why, count in sorted(tally.left_out.items()) if count}
        made = Exported(
            task, made_at, salt, shares, files, tally.read, len(sound), left_out, named, dict(sorted(tally.sources.items())),
            dict(sorted(tally.models.items())), dict(sorted(tally.versions.items())), tally.simulated,
        )  # fmt: skip
        (building / "manifest.json").write_bytes(orjson.dumps(made.as_dict(), option=orjson.OPT_INDENT_2) + b"\n")
        building.replace(target)
    except OSError as error:
        raise InvalidRequest(
            f"The training data cannot be written to {folder} ({error.strerror or error}). Make room there, or give another folder."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return made


def split_of(group: str, salt: str, shares: Shares) -> Split:
    """The file in which a group stands: by a hash, so that it stays there however many others come."""
    digest = hashlib.sha256(f"{salt}\0{group}".encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < shares.test:
        return "test"
    return "validation" if place < shares.test + shares.validation else "train"


def _refuse_full(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise Conflict(
            f"{folder} is there already, and nothing is written over it. Give a folder that is new or empty."
        )


def _refuse_few(task: str, kept: int, tally: _Tally) -> None:
    if kept >= LEAST_ROWS:
        return
    why = ", ".join(f"{count} {name}" for name, count in sorted(tally.left_out.items()) if count)
    raise InvalidRequest(
        f"Task {task} has {kept} rows to train on{f' (left out: {why})' if why else ''}, and needs at least {LEAST_ROWS}. "
        f"Run more of its work, or give labels: {LEAST_ROWS - kept} more would do for a beginning."
    )


def _refuse_empty(task: str, rows: Sequence[_Row], shares: Shares) -> None:
    """Raise InvalidRequest where so few groups hold all rows that a file gets none of them."""
    wanted = {"train": 1.0, "validation": shares.validation, "test": shares.test}
    empty = [split for split in SPLITS if wanted[split] and not any(row.split == split for row in rows)]
    if empty:
        raise InvalidRequest(
            f"The rows of task {task} come from so few documents that none falls into {' and '.join(empty)}: a document stands in one "
            "file as a whole. Run more documents."
        )


def _spooled(rows: Iterable[Example], spool: IO[bytes], tally: _Tally, salt: str, shares: Shares) -> list[_Row]:
    """Write each row that is worth it to the spool; the one row of each text that is kept, in the order in which texts came."""
    found: dict[bytes, _Row] = {}
    for example in rows:
        tally.read += 1
        if tally.read > MOST_ROWS:
            raise TooLarge(f"There are more than {MOST_ROWS:,} rows. Take those of a shorter time: --since.")
        line, why = _line(example)
        if why:
            tally.left_out[why] += 1
            continue
        key, answer = _digest(_same(example.messages[-1])), _digest(_answer(example.answer))
        strength, other = (SOURCES.index(example.source), -example.task_version), found.get(key)
        if other is not None and strength >= other.strength:
            tally.left_out[_beside(other, strength, answer)] += 1
            continue
        tally.left_out["duplicate"] += other is not None
        group = example.group if example.group is not None else key.hex()
        at = spool.seek(0, os.SEEK_END)
        spool.write(line)
        found[key] = _Row(strength, answer, at, len(line), split_of(group, salt, shares), example.job_id or "")
    return list(found.values())


def _beside(other: _Row, strength: tuple[int, int], answer: bytes) -> str:
    """Why a row is not kept beside one of equal text; where two people contradict each other, that one is not kept either."""
    if strength > other.strength or answer == other.answer:
        return "duplicate"
    if SOURCES[strength[0]] in OF_PEOPLE:
        other.contradicted = True
        return "contradicted"
    return "another_answer"


def _written(building: Path, split: Split, rows: Sequence[_Row], spool: IO[bytes], tally: _Tally) -> dict[str, Any]:
    """Copy the rows of a split from the spool to its file, and count what they are."""
    digest, size, count = hashlib.sha256(), 0, 0
    with (building / f"{split}.jsonl").open("wb") as file:
        for row in rows:
            if row.split != split:
                continue
            spool.seek(row.at)
            line = spool.read(row.size)
            file.write(line)
            digest.update(line)
            size, count = size + len(line), count + 1
            _count(orjson.loads(line)["provenance"], tally)
    return {"rows": count, "bytes": size, "sha256": digest.hexdigest()}


def _count(told: Mapping[str, Any], tally: _Tally) -> None:
    tally.sources[told["source"]] += 1
    tally.versions[str(told["task_version"])] += 1
    tally.simulated += told["simulated"]
    if told["model"] is not None:
        tally.models[f"{told['model']} ({told['revision'] or 'revision unknown'})"] += 1


def _line(example: Example) -> tuple[bytes, str]:
    """A row as it is written, or why it teaches nothing."""
    messages = [_plain(one) for one in example.messages]
    if None in messages:
        return b"", "not_text"
    if not messages or not messages[-1] or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        return b"", "no_question"
    if not example.answer.strip():
        return b"", "no_answer"
    provenance = {
        "job_id": example.job_id, "model": example.model, "revision": example.revision, "simulated": example.simulated,
        "source": example.source, "task_version": example.task_version,
        "answered_on": example.answered_on.isoformat() if example.answered_on else None,
    }  # fmt: skip
    chat = {"messages": [*messages, {"role": "assistant", "content": example.answer}], "provenance": provenance}
    try:
        line = orjson.dumps(chat) + b"\n"
    except TypeError:  # half of a pair of surrogates
        return b"", "not_text"
    return (line, "") if len(line) <= MOST_LINE_BYTES else (b"", "too_long")


def _plain(message: Mapping[str, Any]) -> dict[str, str] | None:
    """A message as plain text; None for a picture, a sound, or a call of a tool."""
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    if message.get("role") not in ROLES or not isinstance(content, str) or message.get("tool_calls"):
        return None
    return {"role": str(message["role"]), "content": content}


def _same(message: Mapping[str, Any]) -> str:
    """What makes two rows one: the text that was asked about, without regard to case and blanks.

    Neither instructions nor examples count: they change with the task, and a text must not stand on both sides for that.
    """
    told = _plain(message)
    return " ".join(told["content"].casefold().split()) if told else ""


def _answer(text: str) -> str:
    """An answer as it counts for sameness: JSON without regard to order and blanks, other text without regard to case and blanks."""
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError):
        return " ".join(text.casefold().split()).rstrip(".!")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
