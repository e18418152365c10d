"""What text documents and sheets of OpenDocument share: names of elements, titles, and the words of a paragraph."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.equations import linear
from orchestrator.documents.readers.writing import linked

_URN: Final = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
TEXT: Final = _URN % "text"
TABLE: Final = _URN % "table"
OFFICE: Final = _URN % "office"
DRAW: Final = _URN % "drawing"
STYLE: Final = _URN % "style"
SVG: Final = _URN % "svg-compatible"
XLINK: Final = "{http://www.w3.org/1999/xlink}"
DC: Final = "{http://purl.org/dc/elements/1.1/}"
MOST_SPACES: Final = 100

_NOT_WORDS: Final = frozenset(
    {f"{TEXT}note", f"{OFFICE}annotation", f"{DRAW}frame", f"{TEXT}tracked-changes", f"{TEXT}ruby-text"}
)


def body_of(container: Container, kind: str) -> Any | None:
    """The body of a document: `text` or `spreadsheet`."""
    return container.xml("content.xml").find(f"{OFFICE}body/{OFFICE}{kind}")


def told_title(container: Container) -> str:
    """The title that the document's description gives."""
    tree = container.optional_xml("meta.xml")
    return "" if tree is None else (tree.findtext(f".//{DC}title") or "")


def words(paragraph: Any, hanging: list[Any] | None = None, marks: dict[str, str] | None = None) -> str:
    """The words of a paragraph. What hangs at it (notes, comments, frames) is added to `hanging`; `marks` gives the signs of notes."""
    out: list[str] = []
    _through(paragraph, out, hanging, marks or {})
    return "".join(out)


def _through(parent: Any, out: list[str], hanging: list[Any] | None, marks: dict[str, str]) -> None:
    out.append(_spaced(parent.text))
    for element in parent:
        tag = element.tag
        if tag == f"{TEXT}s":
            count = element.get(f"{TEXT}c", "1")
            out.append(" " * (min(int(count), MOST_SPACES) if count.isdecimal() and len(count) < 6 else 1))
        elif tag == f"{TEXT}tab":
            out.append("\t")
        elif tag == f"{TEXT}line-break":
            out.append("\n")
        elif tag in _NOT_WORDS:
            if hanging is not None and tag != f"{TEXT}ruby-text":
                hanging.append(element)
            out.append(marks.get(element.get(f"{TEXT}id", ""), "") if tag == f"{TEXT}note" else "")
        elif tag == f"{TEXT}a":
            inner: list[str] = []
            _through(element, inner, hanging, marks)
            out.append(linked("".join(inner), element.get(f"{XLINK}href", "")))
        else:
            _through(element, out, hanging, marks)
        out.append(_spaced(element.tail))


def _spaced(text: str | None) -> str:
    """Text with white space as OpenDocument has it: line ends and runs of blanks in the XML are one blank."""
    if not text:
        return ""
    joined = " ".join(text.split())
    if not joined:
        return " "
    return (" " if text[0].isspace() else "") + joined + (" " if text[-1].isspace() else "")


def equation(container: Container, frame: Any) -> str:
    """The equation that a frame shows, on one line; empty where it shows something else."""
    for shown in frame.iter(f"{DRAW}object"):
        if len(shown):
            return linear(shown[0])
        name = shown.get(f"{XLINK}href", "").removeprefix("./").strip("/")
        tree = container.optional_xml(f"{name}/content.xml")
        if tree is not None and tree.tag.endswith("}math"):
            return linear(tree)
    return ""


def span(element: Any, name: str) -> int:
    """How many columns or rows a cell spans."""
    value = element.get(f"{TABLE}{name}", "1")
    return int(value) if value.isdecimal() and len(value) < 6 else 1
