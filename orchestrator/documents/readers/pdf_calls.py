"""Functions of PDFium for calls by the thousand: they take handles and places in memory as plain numbers."""

from __future__ import annotations

import ctypes
from typing import Any, Final

POINTER: Final = ctypes.c_void_p
INT: Final = ctypes.c_int
_MOST_BYTES: Final = 200_000
"""Of one text."""


def function(raw: Any, result: Any, *arguments: Any) -> Any:
    """One function of `pypdfium2.raw` as such; it keeps the lock of the interpreter, which costs more to give up than the call takes."""
    return ctypes.PYFUNCTYPE(result, *arguments)(ctypes.cast(raw, POINTER).value or 0)


def address(handle: Any) -> int:
    """A handle as a number; it must be kept open by its owner."""
    return ctypes.cast(handle, POINTER).value or 0


def text_told(function: Any, *arguments: Any) -> str:
    """A text that PDFium writes as UTF-16 into memory of ours."""
    size = min(function(*arguments, None, 0), _MOST_BYTES)
    if size <= 2:
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    if function(*arguments, buffer, size) > size:  # it was cut off, and nothing was written
        return ""
    return bytes(buffer)[: size - 2].decode("utf-16-le", "replace").replace("\0", "")
