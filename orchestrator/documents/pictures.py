"""A picture as one request: checked by its header only, and sent as it is."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from typing import BinaryIO, Final

from orchestrator.documents.files import read_whole
from orchestrator.documents.lines import MIB, Draft, RowOptions, Unfit, body_for, picture_question
from orchestrator.media.picture import kind_of

MAX_BYTES: Final = 20 * MIB
MAX_PIXELS: Final = 40_000_000


def read(stream: BinaryIO, source: str, options: RowOptions) -> Iterator[Draft]:
    """One draft with the picture as a data URL; raises Unfit for what is no PNG, JPEG, WebP or GIF, or too large."""
    data = read_whole(stream, MAX_BYTES, "A picture")
    kind = _kind(data)
    _check_header(data, kind)
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"
    yield Draft(source, body_for(picture_question(options), options, [url]), source=source)


def _kind(data: bytes) -> str:
    """What a picture is by its first bytes, whatever its suffix says."""
    kind = kind_of(data[:12])
    if kind is None:
        raise Unfit(
            "unreadable_file", "It has the suffix of a picture, and is none. PNG, JPEG, WebP and GIF can be read."
        )
    return kind.upper()


def _check_header(data: bytes, kind: str) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise missing_extra() from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[kind]) as picture:
                width, height = picture.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unfit(
            "file_too_large", f"A picture may have at most {MAX_PIXELS:,} pixels, and this has more. Shrink it."
        ) from None
    except Exception as error:
        raise Unfit(
            "unreadable_file", f"The header of the picture is broken ({type(error).__name__}). Save it anew."
        ) from None
    if width * height > MAX_PIXELS:
        raise Unfit(
            "file_too_large",
            f"The picture has {width:,} x {height:,} pixels, at most {MAX_PIXELS:,} can be read. Shrink it.",
        )
    if width < 1 or height < 1:
        raise Unfit("unreadable_file", "The picture has no pixels. Save it anew.")


def missing_extra() -> Unfit:
    """Why documents cannot be read where Rightsize was installed without them."""
    return Unfit(
        "missing_extra", "Reading it needs pypdfium2 and Pillow. Install them: pip install 'rightsize[documents]'."
    )
