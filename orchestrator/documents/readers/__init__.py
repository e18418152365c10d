"""Readers of documents, a module for each family of kinds. Imported where documents are read, and each only when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KINDS: Final[Mapping[str, str]] = {
    "text": "text",
    "markdown": "markdown",
    "html": "html",
    "eml": "mail",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "ods": "ods",
    "odt": "odt",
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "json",
    "pdf": "pdf",
    "png": "picture",
    "jpeg": "picture",
    "webp": "picture",
    "tiff": "picture",
    "gif": "picture",
    "wav": "sound",
    "mp3": "sound",
    "flac": "sound",
}
"""Which module of this folder reads a kind, with its function `read`: see `reading.Reader`. `pdf` has `render` as well."""
