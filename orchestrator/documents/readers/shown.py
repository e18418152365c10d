"""How large a page is shown to a model, so that it need not be made smaller once more. Pure."""

from __future__ import annotations

from typing import Final

_SHARE: Final = 0.777
"""Of the square of its long side: a page that is about as wide as high is drawn smaller than one of A4, which this leaves as it is."""


def pixels_of(long_side_px: int) -> int:
    """The most pixels of a page whose long side may have so many: of 1,600 just under `media.picture.MAX_IMAGE_PIXELS`."""
    return int(_SHARE * long_side_px**2)
