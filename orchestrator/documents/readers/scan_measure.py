"""What can be told of a scanned page at a look, before any of it is read: how it is turned, and how large its letters are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.documents.reading import Box, Scan

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

LOOK_PX: Final = 2_000_000
"""So much is looked at: the letters of a page are told apart in it."""
INKS: Final = (0.72, 0.82, 0.9)
"""How bright ink may be, compared with what is around it: the second and third are for print that has faded."""
BLACK: Final = 0.62
"""Of the brightness of the paper: what is darker counts as ink in the figure for all of the page."""
LETTER_HEIGHTS_PX: Final = (4, 160)
MIN_LETTER_PX: Final = 8
"""Below this most letters are in pieces, or grown together."""
MIN_LETTERS: Final = 8
"""Fewer marks tell nothing of the size of letters."""
NEIGHBOURS: Final = 400
"""Letters whose neighbours are looked for."""
MAX_SKEW_DEG: Final = 12.0
FINE_DEG: Final = 0.1
MAX_POINTS: Final = 40_000
"""Of ink to tell a turn by: more tell no more."""
MIN_POINTS: Final = 50
STANDS_OUT: Final = 1.05
"""So much more sharply than as it lies, a page must fall into rows for its turn to count."""
PICTURE: Final = 0.04
"""The least width and height of a picture, of the page's diagonal."""
WRITTEN: Final = 0.25
"""What holds so much text is a table or a frame, and no picture."""
SPARSE: Final = 0.03
"""What has less ink than this is a frame or a few lines."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What may be letters: their heights and middles, and all their points."""

    heights: NDArray[np.int32]
    middles: Points
    mask: Mask

    @property
    def height_px(self) -> float:
        """How high most of them are; 0 where that does not tell the size of letters."""
        return float(np.median(self.heights)) if self.alike >= max(MIN_LETTERS, 0.5 * len(self.heights)) else 0.0

    @property
    def alike(self) -> int:
        """How many are about as high as most: of specks and scratches, and of parts of faded letters, few are."""
        usual = float(np.median(self.heights)) if len(self.heights) else 0.0
        return int(((self.heights > 0.6 * usual) & (self.heights < 1.7 * usual)).sum()) if usual >= MIN_LETTER_PX else 0


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a page told."""

    pixels: int
    skew_deg: float
    """How far its lines are turned, clockwise."""
    sideways: bool
    """Whether its lines run up or down."""
    ink: float
    letter_px: float
    """How high most of its letters are, in its own pixels; 0 where that could not be told."""
    others: Mask
    """Its marks that are no letters, in fewer pixels."""

    def pictures(self, texts: Sequence[Box] = ()) -> float:
        """The share of the page in large marks that hold little text: photos, drawings, charts."""
        height, width = self.others.shape
        joined = cv2.morphologyEx(self.others.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        written = np.zeros((height, width), np.bool_)
        for left, top, right, bottom in texts:
            written[int(top * height) : math.ceil(bottom * height), int(left * width) : math.ceil(right * width)] = True
        taken = np.zeros((height, width), np.bool_)
        least = PICTURE * math.hypot(width, height)
        for left, top, wide, high, _ in cv2.connectedComponentsWithStats(joined, connectivity=8)[2][1:]:
            place = (slice(top, top + high), slice(left, left + wide))
            if min(wide, high) >= least and written[place].mean() < WRITTEN and self.others[place].mean() > SPARSE:
                taken[place] = True
        return round(float((taken & ~written).mean()), 4)


def measure(picture: Image.Image) -> Scan:
    """The figures of a page that has not been read: that it lies sideways shows, but not on which side, or on its head."""
    told = look(gray_of(picture))
    return Scan(told.pixels, told.skew_deg, 90 if told.sideways else 0, told.ink, pictures=told.pictures())


def gray_of(picture: Image.Image) -> Gray:
    """A picture in shades of gray, what can be seen through laid on white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.asarray(picture.convert("L"), np.uint8)


def look(page: Gray) -> Look:
    """What a look at a page tells."""
    by = min(math.sqrt(LOOK_PX / max(page.size, 1)), 1.0)
    small = page
    if by < 1:
        size = (max(round(page.shape[1] * by), 1), max(round(page.shape[0] * by), 1))
        small = np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_AREA), np.uint8)
    if float(np.median(small)) < 100:  # light on dark
        small = np.asarray(255 - small, np.uint8)
    brightness = _brightness(small)
    marks = max((_marks(brightness < ink) for ink in INKS), key=lambda one: one.alike)
    sideways = _run_down(marks.middles)
    points = _points(marks.mask if marks.height_px else brightness < INKS[0])
    skew = _skew(np.stack((points[:, 1], -points[:, 0]), axis=1) if sideways else points)
    paper = float(np.percentile(small[::4, ::4], 90))
    others = ((brightness < INKS[0]) | (small < INKS[0] * paper)) & ~marks.mask
    ink = round(float((small < BLACK * paper).mean()), 5)
    return Look(page.size, skew, sideways, ink, marks.height_px / by, others)


def _brightness(small: Gray) -> NDArray[np.float32]:
    """How bright each point is, compared with its surroundings: so neither a shadow nor tinted paper is ink."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (31, 31))
    ground = cv2.blur(cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel), (31, 31))
    return np.asarray(small / np.maximum(ground, 1).astype(np.float32), np.float32)


def _marks(ink: Mask) -> Marks:
    _, labels, found, middles = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    wide, high, area = (found[:, at] for at in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
    least, most = LETTER_HEIGHTS_PX
    fits = (
        (high >= least)
        & (high <= most)
        & (wide >= 2)
        & (wide <= 8 * high)
        & (area >= np.maximum(0.12 * wide * high, 8))
    )
    fits[0] = False  # the paper
    return Marks(
        np.asarray(high[fits], np.int32), np.asarray(middles[fits], np.float64), np.asarray(fits[labels], np.bool_)
    )


def _run_down(middles: Points) -> bool:
    """Whether lines run up or down: a letter is closer to those of its line than to those of the next."""
    some = middles[:: max(len(middles) // NEIGHBOURS, 1)]
    if len(some) < MIN_LETTERS:
        return False
    apart = np.abs(some[:, None, :] - middles[None, :, :])
    distance = np.hypot(apart[..., 0], apart[..., 1])
    distance[distance == 0] = np.inf
    nearest = apart[np.arange(len(some)), distance.argmin(axis=1)]
    return bool((nearest[:, 1] > nearest[:, 0]).mean() > 0.6)


def _points(mask: Mask) -> Points:
    """Some of a mask's points, across and down."""
    down, across = np.nonzero(mask)
    step = max(len(down) // MAX_POINTS, 1)
    return np.stack((across[::step], down[::step]), axis=1).astype(np.float64)


def _skew(points: Points) -> float:
    """The turn at which points fall into rows most sharply, in degrees clockwise; 0 where none stands out."""
    if len(points) < MIN_POINTS:
        return 0.0
    coarse = np.arange(-MAX_SKEW_DEG, MAX_SKEW_DEG + 0.5, 1.0)
    middle = max((_sharpness(points, turn), turn) for turn in coarse)[1]
    fine = np.arange(middle - 1, middle + 1 + FINE_DEG / 2, FINE_DEG)
    sharpness, turn = max((_sharpness(points, turn), turn) for turn in fine)
    return round(float(turn), 2) if sharpness > STANDS_OUT * _sharpness(points, 0.0) else 0.0


def _sharpness(points: Points, turn_deg: float) -> float:
    """How unevenly points are spread over the rows of a page turned back by so much."""
    turn = math.radians(turn_deg)
    rows = points[:, 1] * math.cos(turn) - points[:, 0] * math.sin(turn)
    counts = np.bincount((rows - rows.min()).astype(np.int64)).astype(np.float64)
    return float((np.diff(counts) ** 2).sum() * len(counts) / len(points) ** 2)
