"""Keeps elements from being nested so deep that a parser takes hours over them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MOST_DEPTH: Final = 400
"""Of open elements; the time that the parser takes grows with its square. Pages of people have up to fifty."""

_TAG: Final = re.compile(r"<(?:(!--)|(/?)([a-zA-Z][a-zA-Z0-9:_-]{0,40})(?=[\s/>])[^<>]{0,4000}>?)")
_RAW_END: Final = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "textarea", "title")
}
"""Elements within which there are no tags, and what ends them."""
_CLOSED_BY_OTHERS: Final = frozenset({
    "area", "base", "body", "br", "col", "colgroup", "dd", "dt", "embed", "head", "hr", "html", "img", "input", "li", "link", "meta",
    "optgroup", "option", "p", "param", "rp", "rt", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "track", "wbr",
})  # fmt: skip
"""Elements that are empty, or whose closing tag may be left out: they do not nest in themselves."""


def flattened(html: str) -> tuple[str, bool]:
    """A page without the tags that open more than `MOST_DEPTH` elements in each other, and whether there were any."""
    depth = 0
    kept: list[str] = []
    last = 0
    for match in _tags(html):
        if match[2]:
            depth = max(depth - 1, 0)
        elif depth < MOST_DEPTH:
            depth += 1
        else:
            kept.append(html[last : match.start()])
            last = match.end()
    return ("".join([*kept, html[last:]]), True) if kept else (html, False)


def _tags(html: str) -> Iterator[re.Match[str]]:
    """The tags of elements that must be closed, without what stands in comments, scripts and the like."""
    here = 0
    while match := _TAG.search(html, here):
        here = match.end()
        if match[1]:
            here = html.find("-->", here)
            if here < 0:
                return
            continue
        name = match[3].lower()
        if name in _RAW_END and not match[2]:
            end = _RAW_END[name].search(html, here)
            if end is None:
                return
            here = end.end()
        elif name not in _CLOSED_BY_OTHERS:
            yield match
