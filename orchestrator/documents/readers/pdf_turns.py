"""Text that runs down or up a page, in the coordinates in which it is read, and back on the page. Pure."""

from __future__ import annotations

import numpy as np

from orchestrator.documents.readers.pdf_glyphs import Frame, Glyphs, Numbers, Whole


def turns_read(glyphs: Glyphs, solid: Whole) -> Whole:
    """The direction of each run, with those read downwards whose upright signs stand one under the other, as in Japanese."""
    turns = glyphs.turns.copy()
    if len(solid) < 2:
        return turns
    codes, box, runs = glyphs.codes[solid], glyphs.boxes[solid], glyphs.runs[solid]
    wide = (codes >= 0x2E80) & (codes < 0xFB00)
    if not wide.any():
        return turns
    size = glyphs.sizes[runs][1:]
    across = np.abs((box[1:, 0] + box[1:, 2]) - (box[:-1, 0] + box[:-1, 2])) / 2
    down = box[1:, 1] - box[:-1, 1]
    same = runs[1:] == runs[:-1]
    stacked = wide[1:] & wide[:-1] & same & (across < 0.3 * size) & (down > 0.5 * size) & (down < 2 * size)
    count = len(turns)
    share = np.bincount(runs[1:][stacked], minlength=count) / np.maximum(
        np.bincount(runs[1:][same], minlength=count), 1
    )
    turns[(share > 0.5) & (turns == 0)] = 1
    return turns


def along(boxes: Numbers, turns: Whole, frame: Frame) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Boxes in the coordinates in which their text is read."""
    left, top, right, bottom = (boxes[:, index] for index in range(4))
    if not turns.any():
        return left, top, right, bottom
    wide, high = frame.width, frame.height
    down, back, up = turns == 1, turns == 2, turns == 3
    return (
        np.select([down, back, up], [top, wide - right, high - bottom], left),
        np.select([down, back, up], [wide - right, high - bottom, left], top),
        np.select([down, back, up], [bottom, wide - left, high - top], right),
        np.select([down, back, up], [wide - left, high - top, right], bottom),
    )


def bases_along(bases: Numbers, turns: Whole, frame: Frame) -> Numbers:
    """The place of baselines across the direction in which their text is read."""
    x, y = bases[:, 0], bases[:, 1]
    return np.select([turns == 1, turns == 2, turns == 3], [frame.width - x, frame.height - y, x], y)


def displayed(
    u0: float, v0: float, u1: float, v1: float, turns: int, frame: Frame
) -> tuple[float, float, float, float]:
    """A box in reading coordinates as it is displayed, in points."""
    wide, high = frame.width, frame.height
    match turns:
        case 1:
            return wide - v1, u0, wide - v0, u1
        case 2:
            return wide - u1, high - v1, wide - u0, high - v0
        case 3:
            return v0, high - u1, v1, high - u0
    return u0, v0, u1, v1
