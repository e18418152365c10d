"""One reader of PDFs on one core, ours or a peer's: `python alone.py NAME CPU`. Needs nothing of this package but, for ours, the product.

Reads a line of JSON with the paths, answers with what was read of each; then reads all of them once more for each further line, and
answers with the seconds that it took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def ours() -> Callable[[str], str]:
    """The pool, with one process that reads."""
    from orchestrator.documents.apart.pool import Pool

    pool = Pool(children=1)

    def read(path: str) -> str:
        with Path(path).open("rb") as stream:
            return pool.read(stream, Path(path).name).text

    return read


def markitdown() -> Callable[[str], str]:
    """With its defaults."""
    from markitdown import MarkItDown

    reader = MarkItDown()
    return lambda path: str(reader.convert_local(path).text_content)


def pdfplumber() -> Callable[[str], str]:
    """Page by page, as its documentation shows it."""
    import pdfplumber as library

    def read(path: str) -> str:
        with library.open(path) as found:
            return "\n".join(page.extract_text() or "" for page in found.pages)

    return read


def docling() -> Callable[[str], str]:
    """With its defaults."""
    from docling.document_converter import DocumentConverter

    reader = DocumentConverter()
    return lambda path: str(reader.convert(path).document.export_to_markdown())


READERS = {"ours": ours, "markitdown": markitdown, "pdfplumber": pdfplumber, "docling": docling}


def main() -> None:
    name, cpu = sys.argv[1:]
    os.sched_setaffinity(0, {int(cpu)})
    out = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    read = READERS[name]()
    paths = json.loads(sys.stdin.readline())["paths"]
    print(json.dumps({"texts": [_read(read, path) for path in paths]}), file=out, flush=True)
    for _ in sys.stdin:
        began = time.monotonic()
        for path in paths:
            _read(read, path)
        print(json.dumps({"seconds": time.monotonic() - began}), file=out, flush=True)
    out.flush()
    os._exit(0)  # readers of ours end with this process


def _read(read: Callable[[str], str], path: str) -> str | None:
    """The text of a document; None where this reader could not read it."""
    try:
        return read(path)
    except Exception as error:  # whatever a peer raises costs it this document only
        print(f"{Path(path).name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
