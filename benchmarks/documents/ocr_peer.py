"""RapidOCR or Tesseract as a peer, with its defaults, in a process of its own: the path of a picture a line, a line of JSON back.

`python -m benchmarks.documents.ocr_peer rapidocr|tesseract LANGUAGES`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable


def rapidocr() -> Callable[[str], str]:
    """As its documentation shows it first."""
    from rapidocr import RapidOCR

    engine = RapidOCR()
    return lambda path: "\n".join(engine(path).txts or ())


def tesseract(languages: str) -> Callable[[str], str]:
    """Its program, which finds out for itself how a page stands."""

    def read(path: str) -> str:
        words = ["tesseract", path, "stdout", "-l", languages, "--psm", "1"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout

    return read


def main() -> None:
    name, languages = sys.argv[1:]
    out = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    read = rapidocr() if name == "rapidocr" else tesseract(languages)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        began = time.monotonic()
        text = read(line.strip())
        print(json.dumps({"text": text, "seconds": time.monotonic() - began}), file=out, flush=True)


if __name__ == "__main__":
    main()
