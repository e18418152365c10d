"""The process that reads PDFs apart from everything else: it may crash, hang or run out of memory at no harm to others.

It imports nothing of the project, gets open files over the socket on its standard input, and answers with a length and
JSON: `{"text"}`, `{"pictures"}` (base64 of JPEG), or `{"error", "message"}`. It ends when its parent's socket closes.
"""

from __future__ import annotations

import array
import base64
import contextlib
import io
import json
import math
import os
import resource
import signal
import socket
from typing import Any

MEMORY_BYTES = 2 * 1024**3
LONG_SIDE_PX = 1600
MAX_PIXELS = (
    1_990_000  # just under what a model gets where the fleet says nothing else, so that no page is scaled twice
)
MAX_SCALE = 300 / 72  # no page gains from more than 300 dots an inch
JPEG_QUALITY = 85
PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
MIN_CHARS_A_PAGE = 20
"""Below this average a PDF counts as scanned, and its pages are rendered."""


class Refused(Exception):
    """A document that cannot be read, with the code and the sentence for it."""


def main() -> None:
    """Answer one request after the other until the parent closes the socket."""
    _limit()
    with socket.socket(fileno=0) as parent:
        while message := parent.recvmsg(65536, socket.CMSG_SPACE(4)):
            data, ancillary = message[0], message[1]
            if not data:
                return
            wanted = json.loads(data)
            descriptors = array.array("i")
            for _, _, content in ancillary:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
            # The kernel's alarm ends this process even inside C code, should the parent be gone by then.
            signal.setitimer(signal.ITIMER_REAL, wanted["timeout_s"] + 2)
            answer = json.dumps(_answer(descriptors[0], wanted)).encode()
            signal.setitimer(signal.ITIMER_REAL, 0)
            parent.sendall(len(answer).to_bytes(8, "big") + answer)


def _limit() -> None:
    for what, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):  # some systems know no such limit; the time limit still holds
            resource.setrlimit(what, (limit, limit))


def _answer(descriptor: int, wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        with os.fdopen(descriptor, "rb") as stream:
            data = stream.read(wanted["max_bytes"] + 1)
        if not data:
            raise Refused("empty_file", "The file is empty. Give it some content, or leave it out.")
        if len(data) > wanted["max_bytes"]:
            raise Refused("file_too_large", f"A PDF may have at most {wanted['max_bytes']:,} bytes. Split it.")
        return _read(data, wanted)
    except Refused as refused:
        code, message = refused.args
        return {"error": code, "message": message}
    except ImportError:
        return {"error": "missing_extra", "message": ""}
    except MemoryError:
        return {
            "error": "unreadable_file",
            "message": "It takes too much memory. Save it anew, or split it.",
            "spent": True,
        }
    except Exception as error:
        return {
            "error": "unreadable_file",
            "message": f"The PDF is broken ({type(error).__name__}: {error}). Save it anew.",
        }


def _read(data: bytes, wanted: dict[str, Any]) -> dict[str, Any]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == PASSWORD_ERROR:
            raise Refused(
                "password_required", "The PDF needs a password. Save it without one, and submit it again."
            ) from None
        raise
    try:
        count = len(document)
        if not count:
            raise Refused("unreadable_file", "The PDF has no page that can be read. Save it anew.")
        if count > wanted["max_pages"]:
            raise Refused(
                "too_many_pages", f"The PDF has {count:,} pages, at most {wanted['max_pages']} can be read. Split it."
            )
        pages = _texts(document, wanted["max_chars"])
        if sum(len("".join(page.split())) for page in pages) >= MIN_CHARS_A_PAGE * count:
            return {"text": "\n\n".join(f"[Page {number}]\n{page}" for number, page in enumerate(pages, 1))}
        return {"pictures": _pictures(document, wanted["max_pictures"])}
    finally:
        document.close()


def _texts(document: Any, max_chars: int) -> list[str]:
    texts: list[str] = []
    total = 0
    for index in range(len(document)):
        page = document[index]
        text_page = page.get_textpage()
        text = (
            text_page.get_text_range(errors="replace")
            .replace("\r\n", "\n")
            .replace("\r", "\n")
            .replace("\0", "")
            .strip()
        )
        text_page.close()
        page.close()
        texts.append(text.encode("utf-8", "replace").decode())
        total += len(text)
        if total > max_chars:
            message = (
                f"{index + 1} pages have {total:,} characters, at most {max_chars:,} go into one request. Split it."
            )
            raise Refused("text_too_long", message)
    return texts


def _pictures(document: Any, max_pictures: int) -> list[str]:
    """The pages as JPEG in base64; their size in pixels is bounded before anything is drawn."""
    if len(document) > max_pictures:
        message = (
            f"It has no text layer and {len(document)} pages; at most {max_pictures} are sent as pictures. Split it."
        )
        raise Refused("too_many_pages", message)
    pictures = []
    for index in range(len(document)):
        page = document[index]
        width, height = page.get_size()
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            raise Refused("unreadable_file", f"Page {index + 1} of the PDF has no size. Save it anew.")
        scale = min(LONG_SIDE_PX / max(width, height), math.sqrt(MAX_PIXELS / (width * height)), MAX_SCALE)
        bitmap = page.render(scale=scale)
        buffer = io.BytesIO()
        bitmap.to_pil().convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
        bitmap.close()
        page.close()
        pictures.append(base64.b64encode(buffer.getvalue()).decode())
    return pictures


if __name__ == "__main__":
    main()
