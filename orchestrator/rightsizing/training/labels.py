"""Reads the labelled rows that a specialist is trained on or evaluated with.

A label is a word, or a JSON object of several fields whose values come from closed lists: `{"team": "billing", "urgent": true}`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from orchestrator.errors import InvalidRequest
from orchestrator.learned.terms import MAX_TEXT_CHARS

MAX_ROWS: Final = 1_000_000
MAX_LABEL_CHARS: Final = 200
MAX_OBJECT_CHARS: Final = 4_000
MAX_FIELDS: Final = 20
_ERRORS_SHOWN: Final = 5
_DELIMITERS: Final = ",;\t"


def read_labels(path: Path, text_column: str = "text", label_column: str = "label") -> tuple[list[str], list[str]]:
    """The texts and labels of a CSV file in UTF-8, separated by commas, semicolons or tabs.

    Raises InvalidRequest that names the lines which are wrong, and says what to do; nothing is skipped silently but lines
    that are wholly empty.
    """
    texts, labels, _ = _opened(path, text_column, label_column, may_be_blank=False)
    return texts, labels


def read_given(path: Path, name_column: str, label_column: str) -> tuple[list[str], list[str], int]:
    """Names and labels of a file in which people filled in labels, and how many rows they left without one; raises as `read_labels` does."""
    return _opened(path, name_column, label_column, may_be_blank=True)


def _opened(path: Path, text_column: str, label_column: str, *, may_be_blank: bool) -> tuple[list[str], list[str], int]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path.name, text_column, label_column, may_be_blank=may_be_blank)
    except UnicodeDecodeError:
        raise InvalidRequest(_encoding_message(path)) from None
    except OSError as error:
        raise InvalidRequest(f"Cannot read {path}: {error.strerror}.") from None


def fields_of(labels: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the fields where the labels are JSON objects, in order; None where they are words.

    Raises InvalidRequest for objects that have not all the same fields, or values that come from no list.
    """
    if not labels or not labels[0].lstrip().startswith("{"):
        return None
    names = tuple(sorted(_object(labels[0], 1)))
    if not 0 < len(names) <= MAX_FIELDS:
        raise InvalidRequest(f"Labels that are objects have 1 to {MAX_FIELDS} fields; that of row 1 has {len(names)}.")
    for at, label in enumerate(labels, start=1):
        found = _object(label, at)
        if tuple(sorted(found)) != names:
            raise InvalidRequest(
                f"Row {at}: the label has the fields {', '.join(sorted(found))[:200]}; that of row 1 has {', '.join(names)}. "
                "Give every row all fields; null says that a field has no value."
            )
        open_ended = [name for name in names if isinstance(found[name], (dict, list))]
        if open_ended:
            raise InvalidRequest(
                f"Row {at}: field {open_ended[0]!r} holds a list or an object. A specialist gives single values of a closed list: "
                "leave the field out, or train a language model (`rightsize export`)."
            )
    return names


def values_of(label: str) -> dict[str, str]:
    """The fields of a label that is an object, each value as JSON."""
    return {name: json.dumps(value, ensure_ascii=False) for name, value in json.loads(label).items()}


def pieces(label: str, has_fields: bool) -> list[str]:
    """What is said by a label, one by one: itself, or each field with its value, in the order of their names."""
    return [f"{name}={value}" for name, value in sorted(values_of(label).items())] if has_fields else [label]


def canonical(label: str) -> str:
    """A label that is an object in the one form in which answers are given; equal objects are equal texts."""
    return json.dumps(json.loads(label), ensure_ascii=False, sort_keys=True)


def _object(label: str, row: int) -> dict[str, Any]:
    try:
        found = json.loads(label)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidRequest(
            f"Row {row}: the label is no JSON object, as that of row 1 is. Give all rows an object, or all a word."
        )
    return found


def _read(
    file: TextIO, name: str, text_column: str, label_column: str, *, may_be_blank: bool
) -> tuple[list[str], list[str], int]:
    header = file.readline(65_536)
    if "\0" in header:
        raise InvalidRequest(f"{name} is no text file. Save the labels as CSV in UTF-8.")
    delimiter, columns = _columns(header, name, text_column, label_column)
    text_at, label_at = columns.index(text_column), columns.index(label_column)
    texts: list[str] = []
    labels: list[str] = []
    faults: list[str] = []
    blank = 0
    for line, row in rows_of(file, delimiter, name, f"a text has at most {MAX_TEXT_CHARS:,} characters"):
        if may_be_blank and len(row) == len(columns) and not row[label_at].strip():
            blank += 1
            continue
        fault = _fault(row, len(columns), text_at, label_at)
        if fault:
            faults.append(f"line {line}: {fault}")
            continue
        texts.append(row[text_at])
        labels.append(row[label_at].strip())
        if len(texts) > MAX_ROWS:
            raise InvalidRequest(f"{name} has more than {MAX_ROWS:,} rows. Train on a sample of them.")
    if faults:
        more = f" (and {len(faults) - _ERRORS_SHOWN} more)" if len(faults) > _ERRORS_SHOWN else ""
        raise InvalidRequest(f"{name}: {'; '.join(faults[:_ERRORS_SHOWN])}{more}. Correct or remove these lines.")
    if not texts:
        raise InvalidRequest(
            f"None of the {blank:,} rows of {name} has a label yet. Fill the column {label_column!r}."
            if blank
            else f"{name} has a header and no rows. Add labelled rows below it."
        )
    return texts, labels, blank


def _columns(header: str, name: str, text_column: str, label_column: str) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns by it."""
    if not header.strip():
        raise InvalidRequest(f"{name} is empty. Its first line must name the columns, such as text,label.")
    if text_column == label_column:
        raise InvalidRequest(f"Text and label cannot both be column {text_column!r}.")
    found: list[str] = []
    for delimiter in _DELIMITERS:
        columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
        if text_column in columns and label_column in columns:
            for column in (text_column, label_column):
                if columns.count(column) > 1:
                    raise InvalidRequest(f"{name} has two columns {column!r} in its first line. Rename one.")
            return delimiter, columns
        found = max(found, columns, key=len)
    missing = " and ".join(repr(column) for column in (text_column, label_column) if column not in found)
    raise InvalidRequest(
        f"{name} has no column {missing} in its first line. It has: {', '.join(found)[:300]}. "
        "Name the columns with --text-column and --label-column."
    )


def rows_of(file: TextIO, delimiter: str, name: str, bound: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file with the number of the line on which each begins; lines that are wholly empty are passed over.

    Raises InvalidRequest that names the line which is wrong, and says the `bound` of a text.
    """
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    line = 2
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 2
    except csv.Error as error:
        raise InvalidRequest(
            f'{name}, line {line}: {error}. Check the quotes: a field with quotes in it is written "like ""this""", and {bound}.'
        ) from None


def _fault(row: list[str], columns: int, text_at: int, label_at: int) -> str | None:
    if len(row) != columns:
        return f"{len(row)} fields where the first line has {columns}"
    if "\0" in row[text_at] or "\0" in row[label_at]:
        return "a zero byte, which no text has"
    if not row[text_at].strip():
        return "no text"
    if not row[label_at].strip():
        return "no label"
    if len(row[text_at]) > MAX_TEXT_CHARS:
        return f"a text over {MAX_TEXT_CHARS:,} characters"
    return label_fault(row[label_at].strip())


def label_fault(label: str) -> str | None:
    """What is wrong with the size of a label."""
    most = MAX_OBJECT_CHARS if label.startswith("{") else MAX_LABEL_CHARS
    return f"a label over {most} characters" if len(label) > most else None


def _encoding_message(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return f"{path.name} is UTF-16. Save it as UTF-8."
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"{path.name}, line {number} is not UTF-8. Save the file as UTF-8."
    return f"{path.name} is not UTF-8. Save the file as UTF-8."


def named(labels: Sequence[str]) -> str:
    """The first few labels, and how many more there are."""
    return ", ".join(repr(label) for label in labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
