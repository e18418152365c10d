"""Refuses at once what can never work, before anything is read or asked."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.documents.inputs.globs import matching
from orchestrator.documents.inputs.tables import SUFFIXES, check_table, is_table
from orchestrator.documents.inputs.wanted import LIST, Wanted
from orchestrator.errors import InvalidRequest


def check(wanted: Wanted) -> None:
    """Raise InvalidRequest, with what to do, where a place and what was said of it cannot be."""
    kind = wanted.kind
    _check_columns(wanted)
    if kind == "stdin":
        if wanted.stdin is None:
            raise InvalidRequest("Standard input is closed. Pipe a document into it, or name a file.")
    elif kind == "bucket":
        from orchestrator.documents.inputs.bucket import check_bucket

        check_bucket(wanted.place)
    elif kind in {"url", "urls"}:
        _check_web(wanted)
    elif kind == "pattern":
        next(matching(wanted.place))
    else:
        _check_path(Path(wanted.place))
        if columns := wanted.columns:
            check_table(Path(wanted.place), columns)


def _check_columns(wanted: Wanted) -> None:
    if wanted.text_column is not None and wanted.path_column is not None:
        raise InvalidRequest("A row has its text in one column, or the name of its file in one: give one of the two.")
    if wanted.columns is None:
        if wanted.id_column is not None:
            raise InvalidRequest(
                "A column with ids is for the rows of a table: name the column with their texts or files, too."
            )
        return
    # What is missing is told as that, not as a table that it is not.
    if wanted.kind != "path" or (os.path.lexists(wanted.place) and not is_table(Path(wanted.place))):
        raise InvalidRequest(
            f"Columns are for one table ({', '.join(sorted(SUFFIXES))}), which {wanted.place[:200]!r} is not. Name a table, or "
            "leave the columns out."
        )


def _check_web(wanted: Wanted) -> None:
    from orchestrator.documents.inputs.web import check_hosts, checked

    check_hosts(wanted.hosts)
    if wanted.kind == "url":
        checked(wanted.place, wanted.hosts)
        return
    if not wanted.hosts:
        raise InvalidRequest(
            "No host is allowed, so that no URL is fetched. Allow the hosts of the URLs by their names."
        )
    _check_path(Path(wanted.place.removeprefix(LIST)))


def _check_path(path: Path) -> None:
    try:
        path.stat()
        is_readable = os.access(path, os.R_OK)
    except FileNotFoundError:
        raise InvalidRequest(f"{str(path)[:500]!r} does not exist. Check its name.") from None
    except PermissionError:
        is_readable = False
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise InvalidRequest(f"{str(path)[:500]!r} cannot be read: {reason}. Check its name.") from None
    if not is_readable:
        raise InvalidRequest(f"{str(path)[:500]!r} is not readable for you: change its mode, or run as its owner.")
