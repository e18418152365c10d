"""The two networks that read a scan, run without anything around them: where its lines stand, and what stands in a line.

They are PP-OCRv6 (Apache 2.0), as the package rapidocr carries them; only its files are taken. Its own code would fetch what it
misses from the network, start a logger, and keep every page several times.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orchestrator.documents.reading import Unreadable

NAME: Final = "pp-ocrv6"
Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]
Corners = NDArray[np.float32]
"""Four points: where a line begins above, ends above, ends below and begins below."""

SURE: Final = 0.3
"""From here on a point counts as one of a line."""
SURE_LINE: Final = 0.5
"""The mean that a line needs."""
SPREAD: Final = 1.6
"""How far the core of a line, which is what the network marks, is widened to the whole of it."""
MAX_LINES: Final = 3_000
"""Of a page: a newspaper has a third of it, and what is nothing but specks ends."""
LINE_PX: Final = 48
"""The height that the reading network takes."""
STEP_PX: Final = 8
"""One step of its answer stands for so many of its pixels."""
SPACE: Final = 5.0
"""A space is taken even where it is so many times less likely than none: narrow ones are missed otherwise."""
MAX_LINE_PX: Final = 4_096
"""A longer line, at the height above, is pressed together."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter of a line: how sure it is, and where it stands, as a share of the line's length."""

    text: str
    confidence: float
    at: float


@dataclass(frozen=True, slots=True)
class Line:
    """What was read of one line, and again with its letters held to the Latin ones."""

    letters: tuple[Letter, ...]
    latin: tuple[Letter, ...]

    @property
    def confidence(self) -> float:
        """The mean over its letters, 0 of none."""
        return sum(letter.confidence for letter in self.letters) / len(self.letters) if self.letters else 0.0


class Engine:
    """Both networks, loaded: one is kept for all pages of a process."""

    def __init__(self, folder: Path, threads: int) -> None:
        cv2.setNumThreads(threads)
        self._finds = _session(folder, "det", threads)
        self._reads = _session(folder, "rec", threads)
        told = self._reads.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._letters = ["", *told, " "]
        self._all = np.arange(len(self._letters))
        self._latin = np.array([at for at, letter in enumerate(self._letters) if is_latin(letter)])

    def find(self, picture: Gray) -> list[Corners]:
        """Where lines stand in a picture, in its pixels."""
        height, width = picture.shape
        size = (max(round(width / 32), 1) * 32, max(round(height / 32), 1) * 32)
        marked: Floats = _answer(self._finds, np.asarray(cv2.resize(picture, size), np.uint8))[0, 0]
        lines = list(_lines(marked))
        scale = np.array([width / size[0], height / size[1]], np.float32)
        return [corners * scale for corners in lines]

    def read(self, crop: Gray) -> Line:
        """What stands in a line that was cut out level: one at a time, since on a CPU a batch gains nothing and fills up the shorter."""
        line = _at_height(crop)
        steps: Floats = _answer(self._reads, line)[0]
        latin = self._letters_of(steps[:, self._latin], self._latin)
        return Line(self._letters_of(steps, self._all), latin)

    def _letters_of(self, steps: Floats, names: NDArray[np.intp]) -> tuple[Letter, ...]:
        likely = steps.copy()
        likely[:, -1] *= SPACE  # the space is the last one in all lists
        best = likely.argmax(axis=1)
        starts = np.flatnonzero((best != 0) & (best != np.concatenate(([0], best[:-1]))))
        return tuple(
            Letter(self._letters[names[best[at]]], float(steps[at, best[at]]), (at + 0.5) / len(steps)) for at in starts
        )


@functools.cache
def engine(threads: int = 1) -> Engine:
    """The networks, loaded once a process; raises Unreadable where they are not installed."""
    found = importlib.util.find_spec("rapidocr")
    if found is None or not found.submodule_search_locations:
        raise Unreadable(
            "missing_extra", "Reading scans needs rapidocr. Install it: pip install 'rightsize[documents]'."
        )
    return Engine(Path(found.submodule_search_locations[0]) / "models", threads)


def cut(page: Gray, corners: Corners, share: float = 1.0) -> Gray:
    """A line cut out of a page, level; of its height only a share, in the middle."""
    inward = (corners[[3, 2, 1, 0]] - corners) * np.float32((1 - share) / 2)
    corners = corners + inward
    width = max(round(float(np.linalg.norm(corners[1] - corners[0]))), 1)
    height = max(round(float(np.linalg.norm(corners[3] - corners[0]))), 1)
    limit = (page.shape[1] - 1, page.shape[0] - 1)
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, limit).astype(int) + 1
    turn = cv2.getAffineTransform(
        np.ascontiguousarray(corners[[0, 1, 3]] - np.array([left, top], np.float32)),
        np.array([(0, 0), (width, 0), (0, height)], np.float32),
    )
    return np.asarray(
        cv2.warpAffine(
            page[top:bottom, left:right], turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


def _session(folder: Path, part: str, threads: int) -> Any:
    """One network of the newest kind in the folder."""
    files = sorted(folder.glob(f"PP-OCRv*_{part}_*.onnx"))
    if not files:
        raise Unreadable(
            "missing_extra",
            "The installed rapidocr carries no networks. Install it: pip install 'rightsize[documents]'.",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Every page has its own size: kept areas and plans would only add up.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(files[-1].read_bytes(), options, providers=["CPUExecutionProvider"])


def _answer(network: Any, picture: Gray) -> Floats:
    """What a network makes of a picture; raises MemoryError where there is too little, which it tells in words only."""
    try:
        found: Floats = network.run(None, {"x": _as_input(picture)})[0]
    except Exception as error:
        if any(words in str(error) for words in ("bad_alloc", "bad allocation", "Failed to allocate memory")):
            raise MemoryError from None
        raise
    return found


def _as_input(picture: Gray) -> Floats:
    """A picture as a network takes it: in three equal colours from -1 to 1."""
    shades = picture.astype(np.float32) / 127.5 - 1.0
    return np.broadcast_to(shades, (1, 3, *shades.shape)).copy()


def _lines(marked: Floats) -> Iterator[Corners]:
    """The rectangles around what a network marked, widened to whole lines."""
    mask = cv2.dilate((marked > SURE).astype(np.uint8), np.ones((2, 2), np.uint8))
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    for outline in sorted(outlines, key=len, reverse=True)[:MAX_LINES]:
        centre, (width, height), angle = cv2.minAreaRect(outline)
        if min(width, height) < 3 or _mean_within(marked, outline) < SURE_LINE:
            continue
        if abs(angle) > 45:
            width, height, angle = height, width, angle - math.copysign(90, angle)
        by = width * height * SPREAD / (width + height)
        yield _corners(centre, width + by, height + by, angle)


def _mean_within(marked: Floats, outline: NDArray[Any]) -> float:
    left, top, width, height = cv2.boundingRect(outline)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [outline - (left, top)], 1)
    return float(cv2.mean(marked[top : top + height, left : left + width], mask)[0])


def _corners(centre: Sequence[float], width: float, height: float, angle_deg: float) -> Corners:
    turn = math.radians(angle_deg)
    along = np.array([math.cos(turn), math.sin(turn)], np.float32) * (width / 2)
    down = np.array([-math.sin(turn), math.cos(turn)], np.float32) * (height / 2)
    middle = np.array(centre, np.float32)
    return np.array(
        [middle - along - down, middle + along - down, middle + along + down, middle - along + down], np.float32
    )


def _at_height(crop: Gray) -> Gray:
    """A line at the height that the network takes."""
    height, width = crop.shape
    wide = min(max(math.ceil(width * LINE_PX / height), STEP_PX), MAX_LINE_PX)
    way = cv2.INTER_AREA if height > LINE_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (wide, LINE_PX), interpolation=way), np.uint8)


def is_latin(letter: str) -> bool:
    """What stands in texts in Latin letters: those, digits, and the marks that go with them; the empty one means none."""
    if not letter or letter in " €£$¥°§%‰†•–—‘’‚“”„«»‹›…№™":
        return True
    code = ord(letter[0])
    return code < 0x250 and not unicodedata.category(letter[0]).startswith("C")
