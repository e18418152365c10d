"""Specialists on banking77: how right, how quick, and on what share of the traffic one may answer alone at 98%.

Five folds of the training file, rows of one text together. On each fold's four fifths two specialists are trained: one on all of it, for
accuracy; and one that keeps 2,000 distinct texts aside, never fitted on, with which it is certified. The fold's last fifth then tells what
share is answered alone, how right that share is, and, in hindsight, how large a share would have been as right.
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import Row, Scale, at_least, at_most, spread, told
from benchmarks.rightsizing.given import data, left_out
from orchestrator.learned import specialist as specialists
from orchestrator.learned.classifier import Specialist
from orchestrator.learned.encoder import SentenceEncoder, encoders_of, open_encoder
from orchestrator.learned.record import Kept, TrainingRecord
from orchestrator.rightsizing.guarantees.certify import Demand, Finding, Scored, certify, grid
from orchestrator.rightsizing.training.evaluate import hindsight_share
from orchestrator.rightsizing.training.splits import folds_of, groups_of
from orchestrator.rightsizing.training.train import train

NAME = "tickets/banking77_train.csv"
STRANGERS, EVERY_STRANGER = "routing/routellm_mmlu.csv", 40
FOLDS = 5
SEED = 0
TARGET, DELTA, CERTIFY_ROWS = 0.98, 0.05, 2_000
ASKED_ALONE, BATCH = 300, 512
TASK = "banking"
OF_BYTES = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512bw", "avx2")
"""Instructions that multiply bytes, the quickest first, as Linux names them."""

Labelled = tuple[list[str], list[str]]


@dataclass(frozen=True, slots=True)
class Fold:
    """What came of one fold."""

    accuracy: float
    accuracy_of_n_grams: float
    seconds: float
    finding: Finding
    share: float
    quality: float
    hindsight: float


def measure(scale: Scale) -> list[Row]:
    """Accuracy, time and share; a quick run looks at one fold."""
    file = data(NAME)
    if file is None:
        return left_out("specialist", NAME)
    texts, labels = _read(file)
    groups = groups_of(texts, labels)
    folds = folds_of([labels[group.rows[0]] for group in groups], FOLDS, SEED)
    of_row = {at: fold for group, fold in zip(groups, folds, strict=True) for at in group.rows}
    found: list[Fold] = []
    with tempfile.TemporaryDirectory() as place:
        encoder = open_encoder(encoders_of(Path(place)))
        for fold in range(1 if scale.quick else FOLDS):
            parts = [
                _some(texts, labels, [at for at in of_row if (of_row[at] == fold) is held]) for held in (False, True)
            ]
            found.append(_fold(Path(place), encoder, *parts))
        alone, batch = _speed(Path(place), _some(texts, labels, [at for at in of_row if of_row[at] == 0])[0])
        strange = _strangers(Path(place))
    return [*_rows(found, alone, batch), *strange]


def _rows(found: Sequence[Fold], alone: Sequence[float], batch: float) -> list[Row]:
    core = _processor()
    accuracy, share = [one.accuracy for one in found], [one.share for one in found]
    quality, hindsight = [one.quality for one in found], [one.hindsight for one in found]
    issued = sum(one.finding.issued for one in found)
    return [
        at_least("banking77: accuracy", 100 * _mean(accuracy), 92.5, "%", baseline=100 * _mean([one.accuracy_of_n_grams for one in found]),
                 note=f"mean of {len(found)} folds; {spread([100 * one for one in accuracy])}; baseline: n-grams alone"),
        at_most("banking77: training", max(one.seconds for one in found), 300, "s",
                note=f"the slowest of {len(found)}, about 8,000 texts, one thread"),
        at_most("banking77: one answer alone", statistics.median(alone), 20, "ms",
                note=f"median of {len(alone)}, 95% within {sorted(alone)[int(0.95 * len(alone))]:.2f} ms; one core of {core}"),
        at_most("banking77: a row in a batch", batch, 3, "ms", note=f"batches of {BATCH}; one core of {core}"),
        at_least("banking77: share answered alone at 98%", 100 * _mean(share), 73, "%", baseline=100 * _mean(hindsight),
                 note=f"delta 5%, mean of {len(found)} folds ({issued} issued), {CERTIFY_ROWS} rows to certify, aim 78; "
                      f"{spread([100 * one for one in share])}; baseline: the same model in hindsight"),
        told("banking77: quality of that share", 100 * _mean(quality), "%", note=f"on the fold's own fifth; {spread([100 * one for one in quality])}"),
        told("banking77: share at 98% in hindsight", 100 * _mean(hindsight), "%", note=spread([100 * one for one in hindsight])),
    ]  # fmt: skip


def _fold(place: Path, encoder: SentenceEncoder, learn: Labelled, held: Labelled) -> Fold:
    whole = train(*learn, TASK, place, encoder=encoder, certify_rows=0, seed=SEED)
    accuracy = _right(place, whole, held).mean()
    plain = _right(place, train(*learn, TASK, place, certify_rows=0, seed=SEED), held).mean()
    record = train(*learn, TASK, place, encoder=encoder, certify_rows=CERTIFY_ROWS, seed=SEED)
    folder = specialists.version_folder(place, TASK, record.version)
    finding = _certified(specialists.kept(folder))
    answers = specialists.load(folder)[0].predict(held[0])
    scores = np.array([one.score for one in answers])
    right = np.array([one.label == label for one, label in zip(answers, held[1], strict=True)])
    alone = scores >= (2.0 if finding.threshold is None else finding.threshold)
    quality = float(right[alone].mean()) if alone.any() else 1.0
    return Fold(
        float(accuracy),
        float(plain),
        whole.seconds,
        finding,
        float(alone.mean()),
        quality,
        hindsight_share(scores, right, TARGET),
    )


def _certified(kept: Kept) -> Finding:
    """One attempt, as `rightsize certify` makes it: where to look comes from rows that were fitted on, proof from those kept aside."""
    fitted = [Scored(score, right) for score, right in kept.fitted]
    rows = [Scored(one.score, one.right) for one in kept.certify]
    return certify(rows, grid([one.score for one in fitted]), Demand(TARGET, DELTA), fitted)


def _right(place: Path, record: TrainingRecord, held: Labelled) -> np.ndarray:
    found, _ = specialists.load(specialists.version_folder(place, TASK, record.version))
    return np.array([one.label == label for one, label in zip(found.predict(held[0]), held[1], strict=True)])


def _speed(place: Path, texts: Sequence[str]) -> tuple[list[float], float]:
    """Milliseconds of single answers, and of a row in batches, by the last specialist: of one core's time, since it uses one."""
    folder = specialists.current_folder(place, TASK)
    assert folder is not None
    found, _ = specialists.load(folder)
    with _one_core():
        found.predict(texts[:10])
        alone = [_took(found, [text]) * 1000 for text in texts[:ASKED_ALONE]]
        batches = [texts[start : start + BATCH] for start in range(0, len(texts) - BATCH + 1, BATCH)]
        batch = statistics.median(_took(found, some) * 1000 / len(some) for some in batches)
    return alone, batch


def _strangers(place: Path) -> list[Row]:
    """What share of texts of quite another kind the last specialist takes for none of its own, where such texts are given."""
    file = data(STRANGERS)
    if file is None:
        return left_out("banking77: exam questions out of scope", STRANGERS)
    with file.open(encoding="utf-8", newline="") as rows:
        asked = [row["prompt"] for row in csv.DictReader(rows)][::EVERY_STRANGER]
    folder = specialists.current_folder(place, TASK)
    assert folder is not None
    found, kept = specialists.load(folder)[0], specialists.kept(folder)
    apart = statistics.fmean(one.score == 0 for one in found.predict(asked))
    own = statistics.fmean(one.score == 0 for one in kept.certify)
    return [told("banking77: exam questions out of scope", 100 * apart, "%",
                 note=f"{len(asked)} of MMLU; of the task's own texts, never fitted on: {100 * own:.2f}%")]  # fmt: skip


def _took(found: Specialist, texts: Sequence[str]) -> float:
    began = time.process_time()
    found.predict(texts)
    return time.process_time() - began


@contextmanager
def _one_core() -> Iterator[None]:
    """Bound to one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _processor() -> str:
    """Its name and the widest way in which it multiplies bytes: the encoder's time hangs on that."""
    with suppress(OSError):
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        told = {name.strip(): value.strip() for name, _, value in lines}
        able = told.get("flags", "").split()
        widest = next((one for one in OF_BYTES if one in able), "none known")
        return f"{told.get('model name', platform.machine())} ({widest})"
    return platform.processor() or platform.machine()


def _read(file: Path) -> Labelled:
    with file.open(encoding="utf-8", newline="") as rows:
        found = list(csv.DictReader(rows))
    return [row["text"] for row in found], [row["category"] for row in found]


def _some(texts: Sequence[str], labels: Sequence[str], rows: Sequence[int]) -> Labelled:
    return [texts[at] for at in rows], [labels[at] for at in rows]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)
