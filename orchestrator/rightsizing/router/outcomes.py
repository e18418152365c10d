"""Reads what models made of prompts: a CSV with a column `prompt` and one column of outcomes for each model."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.training.labels import rows_of

PROMPT: Final = "prompt"
MAX_ROWS: Final = 1_000_000
MAX_PROMPT_CHARS: Final = 100_000
MAX_CHARS: Final = 1_000_000_000
"""Of all prompts together: what bounds the memory that reading takes."""
MAX_MODELS: Final = 64
MAX_NAME_CHARS: Final = 128
_MOST_HEADER: Final = 65_536
_ERRORS_SHOWN: Final = 5
_MOST_FAULTS: Final = 1_000
_DELIMITERS: Final = ",;\t"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What each model made of each prompt."""

    prompts: list[str]
    models: tuple[str, ...]
    values: NDArray[np.float32]
    """[prompts, models], from 0 (wrong) to 1 (right); NaN where a model was not asked."""

    def take(self, rows: NDArray[np.int64]) -> Outcomes:
        """Only these rows, in this order."""
        return Outcomes([self.prompts[row] for row in rows], self.models, self.values[rows])

    def complete(self) -> NDArray[np.int64]:
        """The rows for which every model's outcome is known."""
        return np.flatnonzero(np.isfinite(self.values).all(axis=1))


def read_outcomes(path: Path, ignore: Sequence[str] = ()) -> Outcomes:
    """The outcomes in a CSV file in UTF-8, separated by commas, semicolons or tabs.

    An outcome is a number from 0 to 1; an empty field says that the model was not asked. Raises InvalidRequest that names the
    lines or columns which are wrong, and says what to do.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path.name, ignore)
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is not UTF-8. Save the file as UTF-8.") from None
    except OSError as error:
        raise InvalidRequest(f"Cannot read {path}: {error.strerror}. Name a CSV file with --outcomes.") from None


def text_hashes(prompts: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each prompt's hash, capitals and blanks aside; rows of one hash are one prompt, and stand for it without its text."""
    found = (int.from_bytes(text_sha256(prompt)[:8], "big") for prompt in prompts)
    return np.fromiter(found, np.uint64, len(prompts))


def _read(file: TextIO, name: str, ignore: Sequence[str]) -> Outcomes:
    delimiter, columns = _columns(file.readline(_MOST_HEADER), name)
    models = _models(columns, name, ignore)
    prompt_at, places = columns.index(PROMPT), [columns.index(model) for model in models]
    prompts: list[str] = []
    values = array("f")
    faults: list[str] = []
    words: dict[str, str] = {}
    chars = 0
    for line, row in rows_of(file, delimiter, name, f"a prompt has at most {MAX_PROMPT_CHARS:,} characters"):
        fault = _fault(row, len(columns), prompt_at)
        found = None if fault else _values(row, places, columns, words)
        if found is None:
            faults += [f"line {line}: {fault}"] if fault else []
            if len(faults) >= _MOST_FAULTS or (words and line > _MOST_FAULTS):
                break
            continue
        prompts.append(row[prompt_at])
        values.extend(found)
        chars += len(row[prompt_at])
        if len(prompts) > MAX_ROWS or chars > MAX_CHARS:
            raise InvalidRequest(
                f"{name} has more than {MAX_ROWS:,} rows, or more than {MAX_CHARS:,} characters. Take a random sample of its rows."
            )
    _refuse(name, faults, words)
    if not prompts:
        raise InvalidRequest(f"{name} has a header and no rows. Add a row for each prompt below it.")
    return Outcomes(prompts, models, np.array(values, np.float32).reshape(len(prompts), len(models)))


def _refuse(name: str, faults: Sequence[str], words: dict[str, str]) -> None:
    if words:
        shown = ", ".join(f"{column!r} ({value!r})" for column, value in words.items())
        flags = " ".join(f"--ignore {column!r}" for column in words)
        raise InvalidRequest(
            f"{name}: these columns hold something else than outcomes from 0 to 1: {shown}. If they are no models, leave them out "
            f"with {flags}; if they are, write 0, 1 or a number between, and nothing where the model was not asked."
        )
    if faults:
        more = f" (and {len(faults) - _ERRORS_SHOWN} more)" if len(faults) > _ERRORS_SHOWN else ""
        raise InvalidRequest(f"{name}: {'; '.join(faults[:_ERRORS_SHOWN])}{more}. Correct or remove these lines.")


def _columns(header: str, name: str) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns by it."""
    if "\0" in header:
        raise InvalidRequest(f"{name} is no text file. Save the outcomes as CSV in UTF-8.")
    if not header.strip():
        raise InvalidRequest(
            f"{name} is empty. Its first line names the columns, such as prompt,small-model,large-model."
        )
    found: list[str] = []
    for delimiter in _DELIMITERS:
        columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
        if PROMPT in columns:
            return delimiter, columns
        found = max(found, columns, key=len)
    raise InvalidRequest(
        f"{name} has no column {PROMPT!r} in its first line. It has: {', '.join(found)[:300]}. Name the column with the texts {PROMPT!r}."
    )


def _models(columns: Sequence[str], name: str, ignore: Sequence[str]) -> tuple[str, ...]:
    if missing := sorted(set(ignore) - set(columns)):
        raise InvalidRequest(
            f"{name} has no column {', '.join(missing)} to ignore. It has: {', '.join(columns)[:300]}."
        )
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InvalidRequest(f"{name} has two columns {', '.join(twice)[:300]} in its first line. Rename one.")
    models = tuple(column for column in columns if column != PROMPT and column not in ignore)
    if not 2 <= len(models) <= MAX_MODELS:
        raise InvalidRequest(
            f"A router chooses among 2 to {MAX_MODELS} models, and {name} has {len(models)} columns of outcomes: "
            f"{', '.join(models)[:300] or 'none'}. Add a column for each model, or leave out others with --ignore COLUMN."
        )
    if odd := [model for model in models if not model or len(model) > MAX_NAME_CHARS]:
        raise InvalidRequest(
            f"{name} has a column without a name, or with one over {MAX_NAME_CHARS} characters: {odd[0][:80]!r}. Name the model."
        )
    return models


def _fault(row: Sequence[str], columns: int, prompt_at: int) -> str | None:
    if len(row) != columns:
        return f"{len(row)} fields where the first line has {columns}"
    if "\0" in row[prompt_at]:
        return "a zero byte, which no text has"
    if not row[prompt_at].strip():
        return "no prompt"
    return f"a prompt over {MAX_PROMPT_CHARS:,} characters" if len(row[prompt_at]) > MAX_PROMPT_CHARS else None


def _values(
    row: Sequence[str], places: Sequence[int], columns: Sequence[str], words: dict[str, str]
) -> list[float] | None:
    """The outcomes of a row; None where one is no outcome: `words` then has its column, with the first such value."""
    found: list[float] = []
    for place in places:
        text = row[place].strip()
        try:
            value = float(text) if text else float("nan")
        except ValueError:
            value = -1.0
        if text and not 0 <= value <= 1:
            words.setdefault(columns[place], text[:40])
        found.append(value)
    return None if words else found
