"""The words of a paragraph in a Word document: runs, fields, links, equations, and what hangs at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.documents.readers.docx_styles import W
from orchestrator.documents.readers.equations import M, linear
from orchestrator.documents.readers.writing import linked

MATH_PARAGRAPH: Final = f"{M}oMathPara"

R: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"

_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_WP: Final = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_VML: Final = "{urn:schemas-microsoft-com:vml}"
_GRAPHIC_DATA: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}graphicData"
_DELETED: Final = frozenset({f"{W}del", f"{W}moveFrom"})
_INSERTED: Final = frozenset({f"{W}ins", f"{W}moveTo"})
_NOT_READ: Final = frozenset({
    f"{W}pPr", f"{W}rPr", f"{W}instrText", f"{W}delText", f"{W}delInstrText", f"{W}sdtPr", f"{W}sdtEndPr", f"{W}softHyphen", f"{W}rt",
})  # fmt: skip
_SIGNS: Final = {
    f"{W}tab": "\t", f"{W}ptab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "\u2011",
}  # fmt: skip
_SYMBOLS: Final = {
    "F0A8": "☐", "F06F": "☐", "F0FE": "☑", "F0FD": "☒", "F0FC": "✓", "F0FB": "✗", "F0B7": "•", "F0A7": "▪", "F0E0": "→", "F0DF": "←",
}  # fmt: skip
"""Characters of the fonts Wingdings and Symbol that forms are filled in with."""


def chosen(element: Any) -> Any | None:
    """Of content that stands in a new and an old form, the new one; None for any other element."""
    if element.tag != f"{_MC}AlternateContent":
        return None
    choice = element.find(f"{_MC}Choice")
    return choice if choice is not None else element.find(f"{_MC}Fallback")


class Runs:
    """Reads the words of paragraphs, one after the other: a field may begin in one and end in another."""

    def __init__(self) -> None:
        self.boxes: list[Any] = []
        """Text boxes that hang at the paragraph read last."""
        self.words: list[str] = []
        """What describes its pictures."""
        self.links: Mapping[str, str] = {}
        """Where the links of the part that is being read lead, by their ids."""
        self.pictures = self.charts = 0
        self.has_changes = self.has_hidden = False
        self._fields: list[bool] = []
        """Of each field that is open, whether we are still in its instruction."""

    def text(self, paragraph: Any) -> str:
        """The words of a paragraph."""
        out: list[str] = []
        self._through(paragraph, out)
        # An instruction ends with its paragraph: one without its end would take the rest of the document with it.
        self._fields = [False] * len(self._fields)
        return "".join(out)

    def _through(self, parent: Any, out: list[str]) -> None:
        for element in parent:
            tag = element.tag
            if tag == f"{W}t":
                if not any(self._fields):
                    out.append(element.text or "")
            elif tag == f"{W}r":
                hidden = element.find(f"{W}rPr/{W}vanish")
                self.has_hidden |= hidden is not None and hidden.get(f"{W}val", "1") not in {"0", "false", "off"}
                self._through(element, out)
            elif tag in _SIGNS:
                out.append("" if element.get(f"{W}type") == "page" else _SIGNS[tag])
            elif tag in _DELETED:
                self.has_changes = True
            elif tag == f"{W}fldChar":
                self._field(element.get(f"{W}fldCharType", ""))
            elif tag not in _NOT_READ:
                self._other(element, tag, out)

    def _field(self, kind: str) -> None:
        if kind == "begin":
            self._fields.append(True)
        elif self._fields and kind == "separate":
            self._fields[-1] = False
        elif self._fields and kind == "end":
            self._fields.pop()

    def _other(self, element: Any, tag: str, out: list[str]) -> None:
        if tag in _INSERTED:
            self.has_changes = True
            self._through(element, out)
        elif tag in {f"{W}footnoteReference", f"{W}endnoteReference"}:
            kind = "e" if tag == f"{W}endnoteReference" else ""
            out.append(f"[^{kind}{element.get(f'{W}id', '')}]")
        elif tag == f"{W}sym":
            out.append(_SYMBOLS.get(element.get(f"{W}char", "").upper(), ""))
        elif tag == f"{W}hyperlink":
            inner: list[str] = []
            self._through(element, inner)
            target = self.links.get(element.get(f"{R}id", ""), "")
            out.append(linked("".join(inner), target) if target else "".join(inner))
        elif tag in {f"{W}drawing", f"{W}pict", f"{W}object"}:
            self._drawing(element)
        elif tag == f"{M}oMath":
            out.append(linear(element))
        elif tag == MATH_PARAGRAPH:
            out.append("\n".join(linear(one) for one in element.iterfind(f"{M}oMath")))
        elif (choice := chosen(element)) is not None:
            self._through(choice, out)
        else:
            self._through(element, out)

    def _drawing(self, drawing: Any) -> None:
        """Note the text boxes, pictures and charts of a drawing; a box within a box is read with the outer one."""
        self.boxes += [box for box in drawing.iter(f"{W}txbxContent") if _is_outer(box, drawing)]
        words = ""
        for one in (*drawing.iter(f"{_WP}docPr"), *drawing.iter(f"{_VML}shape")):
            words = words or one.get("descr") or one.get("alt") or ""
        kinds = [one.get("uri", "").rpartition("/")[2] for one in drawing.iter(_GRAPHIC_DATA)]
        self.charts += sum(kind in {"chart", "diagram", "chartex"} for kind in kinds)
        self.pictures += "picture" in kinds or next(drawing.iter(f"{_VML}imagedata"), None) is not None
        if words:
            self.words.append(words)


def _is_outer(box: Any, drawing: Any) -> bool:
    """Whether a text box is in no other of this drawing, and not the old form of one that stands there in the new form."""
    for one in box.iterancestors():
        if one is drawing:
            break
        if one.tag == f"{W}txbxContent":
            return False
        if one.tag == f"{_MC}Fallback" and one.getparent().find(f"{_MC}Choice") is not None:
            return False
    return True
