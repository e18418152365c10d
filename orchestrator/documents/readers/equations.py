"""Equations of office documents on one line: `(a+b)/(2c)`, `x^(2)`, `√(y)`. Pure."""

from __future__ import annotations

from typing import Any, Final

M: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"

_MATHML: Final = "{http://www.w3.org/1998/Math/MathML}"
_NOT_READ: Final = frozenset({"rPr", "ctrlPr", "fPr", "sSupPr", "sSubPr", "radPr", "annotation", "annotation-xml"})


def linear(element: Any) -> str:
    """An equation of Word (OMML) or LibreOffice (MathML) as text."""
    name = _name(element)
    if name in {"t", "mi", "mn", "mo", "mtext", "ms"}:
        return (element.text or "").strip(" \n") if name != "t" else (element.text or "")
    parts = [(_name(child), linear(child)) for child in element if _name(child) not in _NOT_READ]
    texts = [text for _, text in parts]
    by_name = dict(parts)
    match name:
        case "f" | "mfrac":
            top, bottom = _two(by_name.get("num"), by_name.get("den"), texts)
            return f"{_grouped(top)}/{_grouped(bottom)}"
        case "sSup" | "msup":
            base, raised = _two(by_name.get("e"), by_name.get("sup"), texts)
            return f"{_grouped(base)}^{_grouped(raised)}"
        case "sSub" | "msub":
            base, lowered = _two(by_name.get("e"), by_name.get("sub"), texts)
            return f"{_grouped(base)}_{_grouped(lowered)}"
        case "sSubSup":
            return f"{_grouped(by_name.get('e', ''))}_{_grouped(by_name.get('sub', ''))}^{_grouped(by_name.get('sup', ''))}"
        case "msubsup" if len(texts) == 3:
            return f"{_grouped(texts[0])}_{_grouped(texts[1])}^{_grouped(texts[2])}"
        case "rad" | "msqrt":
            degree = by_name.get("deg", "")
            return f"{degree}√{_grouped(by_name.get('e') or ''.join(texts), always=True)}"
        case "nary":
            limits = f"_{_grouped(by_name.get('sub', ''))}^{_grouped(by_name.get('sup', ''))}"
            return f"{_sign(element)}{limits} {by_name.get('e', '')}"
        case "d":
            return f"({', '.join(text for of, text in parts if of == 'e')})"
        case "mr" | "mtr":
            return ", ".join(texts)
        case "m" | "mtable":
            return f"[{'; '.join(texts)}]"
        case _:
            return "".join(texts)


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _two(first: str | None, second: str | None, texts: list[str]) -> tuple[str, str]:
    """Two parts by their names, else in their order."""
    if first is not None or second is not None:
        return first or "", second or ""
    return (texts[0], texts[1]) if len(texts) == 2 else ("".join(texts), "")


def _grouped(text: str, *, always: bool = False) -> str:
    return f"({text})" if always or len(text) > 1 else text


def _sign(element: Any) -> str:
    shown = element.find(f"{M}naryPr/{M}chr")
    return "∫" if shown is None else (shown.get(f"{M}val") or "")
