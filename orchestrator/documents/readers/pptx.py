"""PPTX: the slides of a presentation in their order, a page each, read from its XML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.flow import Flow
from orchestrator.documents.readers.pptx_shapes import A, P, R, Shapes
from orchestrator.documents.readers.writing import Writer, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

MAIN_PART: Final = "ppt/presentation.xml"

_DEFAULT_TITLES: Final = frozenset({"", "powerpoint presentation", "presentation"})


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The slides as pages: titles as headings, text, tables, charts' data, the words for pictures, and the speaker's notes."""
    del within
    container = Container(data, limits)
    pointed = (target for of, target in container.relations("").values() if of == "officeDocument")
    main = next((name for name in (*pointed, MAIN_PART) if name in container), MAIN_PART)
    presentation = container.xml(main)
    slides = _slides(container, presentation, main)
    if len(slides) > limits.max_pages:
        raise Unreadable("too_many_pages", f"It has {len(slides):,} slides, at most {limits.max_pages:,}. Split it.")
    size = presentation.find(f"{P}sldSz")
    shapes = Shapes(container, None if size is None else (size.get("cx", ""), size.get("cy", "")))
    writer = Writer(limits)
    pages = tuple(_page(number, name, container, shapes, writer) for number, name in enumerate(slides, 1))
    if shapes.pictures:
        writer.tell(f"Its pictures ({shapes.pictures}) were not looked at; the words that describe them were read.")
    told = container.told_title()
    title = told if told.strip().lower() not in _DEFAULT_TITLES else shapes.first_title
    return Reading("pptx", pages, title=title_of(title), notes=tuple(writer.notes))


def _slides(container: Container, presentation: Any, main: str) -> list[str]:
    """The parts of the slides, in the order in which they are shown; one that is listed twice is read once."""
    relations = container.relations(main)
    listed = (relations.get(one.get(f"{R}id", ""), ("", ""))[1] for one in presentation.iter(f"{P}sldId"))
    return list(dict.fromkeys(name for name in listed if name in container))


def _page(number: int, name: str, container: Container, shapes: Shapes, writer: Writer) -> Page:
    slide = container.xml(name)
    relations = container.relations(name)
    flow = Flow()
    tree = slide.find(f"{P}cSld/{P}spTree")
    if tree is not None:
        shapes.read(tree, flow, relations)
    _add_notes(container, relations, flow)
    _add_comments(container, relations, flow)
    if slide.get("show") in {"0", "false"}:
        writer.tell(f"Slide {number} is hidden; it was read like the rest.")
    flow.write(writer)
    return Page(number, writer.cut())


def _add_notes(container: Container, relations: Mapping[str, tuple[str, str]], flow: Flow) -> None:
    """Add what the speaker noted below a slide, without its number and its small picture."""
    for of, target in relations.values():
        tree = container.optional_xml(target) if of == "notesSlide" else None
        for shape in () if tree is None else tree.iter(f"{P}sp"):
            holder = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
            if holder is not None and holder.get("type") == "body":
                text = " ".join(one.text or "" for one in shape.iter(f"{A}t"))
                flow.note(f"[Speaker's notes] {text}" if text.strip() else "")


def _add_comments(container: Container, relations: Mapping[str, tuple[str, str]], flow: Flow) -> None:
    for of, target in relations.values():
        tree = container.optional_xml(target) if of == "comments" else None
        for comment in () if tree is None else tree:
            texts = (one.text or "" for one in comment.iter(f"{P}text", f"{A}t"))
            flow.note(f"[Comment] {text}" if (text := " ".join(texts).strip()) else "")
