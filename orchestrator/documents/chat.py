"""What was read of a document as the body of one chat request: its text, pictures of pages that must be seen, or its sound. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.documents.lines import RowOptions, Unfit, body_for, body_of, checked_text
from orchestrator.documents.reading import Page, Reading

PICTURE_QUESTION: Final = "Describe this page."
SOUND_QUESTION: Final = "Transcribe this recording."
MIN_CHARS_A_PAGE: Final = 20
"""Below this average a PDF counts as scanned, and all its pages are to be looked at."""


def pages_to_look_at(reading: Reading) -> list[int]:
    """The pages of a PDF that go as pictures: those without text, or all where there is next to no text on any."""
    own = [page for page in reading.pages if not page.name]  # named are the files that lie in it
    chars = sum(len("".join(page.text.split())) for page in own)
    return [page.number for page in own if page.source == "none" or chars < MIN_CHARS_A_PAGE * len(own)]


def of_text(reading: Reading, options: RowOptions) -> dict[str, Any]:
    """A document that has text; raises Unfit for one without, or with too much."""
    text = reading.text
    if not text.strip():
        message = "No text was found in it. Save it as PDF, so that its pages can be looked at, or leave it out."
        raise Unfit("empty_file", message)
    if reading.kind == "pdf" or len(reading.pages) > 1:
        text = "\n\n".join(map(_marked, reading.pages))
    return body_for(checked_text(text, options, "The document"), options)


def of_pages(reading: Reading, pictures: Mapping[int, bytes], options: RowOptions) -> dict[str, Any]:
    """A PDF of which some pages are shown as JPEGs, each behind the text of those before it."""
    if len(pictures) == len(reading.pages):
        return of_pictures(list(pictures.values()), options)
    parts = [_text(_question(options, PICTURE_QUESTION))]
    said: list[str] = []
    for page in reading.pages:
        if page.number in pictures:
            parts += [_text("\n\n".join([*said, _mark(page)])), _picture("jpeg", pictures[page.number])]
            said = []
        else:
            said.append(_marked(page))
    if said:
        parts.append(_text("\n\n".join(said)))
    checked_text("".join(part.get("text", "") for part in parts), options, "The document")
    return body_of(parts, options)


def of_pictures(pictures: Sequence[bytes], options: RowOptions, kind: str = "jpeg") -> dict[str, Any]:
    """Pictures, with the instructions as the question."""
    return body_of([_text(_question(options, PICTURE_QUESTION)), *(_picture(kind, one) for one in pictures)], options)


def of_sound(data: bytes, kind: str, options: RowOptions) -> dict[str, Any]:
    """A sound, with the instructions as the question."""
    heard = {"data": base64.b64encode(data).decode(), "format": kind}
    return body_of([_text(_question(options, SOUND_QUESTION)), {"type": "input_audio", "input_audio": heard}], options)


def _question(options: RowOptions, default: str) -> str:
    return options.instructions or default


def _mark(page: Page) -> str:
    return f"[Page {page.number}: {page.name}]" if page.name else f"[Page {page.number}]"


def _marked(page: Page) -> str:
    return f"{_mark(page)}\n{page.text}"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _picture(kind: str, data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}}
