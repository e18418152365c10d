"""Trains a specialist: sentence vectors joined with n-grams, on CPU, calibrated on rows that its heads had not seen.

Rows of one text are one. A random fifth of the texts is kept aside to certify on; the rest is fitted on, once in five parts to see what
heads say of rows that they do not know (that teaches weights, temperature and score), and once whole. Nothing is fitted on rows kept aside.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from orchestrator.errors import InvalidRequest
from orchestrator.learned.encoder import Encoder, Vectors
from orchestrator.learned.record import Kept, KeptRow, TrainingRecord, short
from orchestrator.learned.specialist import check_task, save
from orchestrator.learned.terms import MAX_TEXT_CHARS, text_sha256
from orchestrator.rightsizing.one_thread import one_thread
from orchestrator.rightsizing.training import calibration, fitting, noise
from orchestrator.rightsizing.training.card import card
from orchestrator.rightsizing.training.evaluate import calibration_error
from orchestrator.rightsizing.training.fitting import Target
from orchestrator.rightsizing.training.labels import (
    MAX_LABEL_CHARS,
    MAX_OBJECT_CHARS,
    MAX_ROWS,
    canonical,
    fields_of,
    label_fault,
    named,
    pieces,
    values_of,
)
from orchestrator.rightsizing.training.recording import Made, Rows, record_of
from orchestrator.rightsizing.training.splits import MOST_FITTED, groups_of, split

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the whole that is done (0 to 1)."""

MAX_LABELS: Final = 1_000
_MOST_ODDS: Final = 20_000_000
"""Texts times labels of a fit."""
_ENCODE_AT_ONCE: Final = 512
_CONFIDENT: Final = 0.5
"""From which probability of another label on a label is listed as one that looks wrong."""


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    task: str,
    out_dir: Path,
    *,
    encoder: Encoder | None = None,
    certify_rows: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> TrainingRecord:
    """Train a specialist for `task` and make it the current one under `out_dir` (the blob folder).

    Without an encoder it learns n-grams alone. `certify_rows` are kept aside: a fifth, at most 2,000, where no number is given.
    Raises InvalidRequest where the rows do not suffice: fewer than 2 labels, fewer than 2 rows of a label, too much of anything.
    """
    began = time.monotonic()
    tell = on_progress or (lambda _step, _share: None)
    check_task(task)
    fields = _check(texts, labels)
    said = [canonical(label) for label in labels] if fields else list(labels)
    tell("dividing the rows", 0.0)
    kinds = len({piece for label in said for piece in pieces(label, bool(fields))})
    rows = _divided(list(texts), said, certify_rows, min(MOST_FITTED, _MOST_ODDS // kinds), seed)
    targets = _targets([str(group.label) for group in rows.split.fit], fields)
    with one_thread():
        made = _made(rows, targets, encoder, tell)
    tell("saving", 0.98)
    record = record_of(task, rows, made, encoder, targets, round(time.monotonic() - began, 3))
    save(out_dir, made.specialist, record, made.kept, card(record))
    tell("done", 1.0)
    return record


def _divided(texts: list[str], labels: list[str], certify_rows: int | None, most_fitted: int, seed: int) -> Rows:
    groups = groups_of(texts, labels)
    if certify_rows is not None and not 0 <= certify_rows <= len(groups) - 2:
        raise InvalidRequest(
            f"{certify_rows:,} rows cannot be kept aside of {len(groups):,} distinct texts. Keep fewer, or give more labels.",
            param="certify_rows",
        )
    divided = split(groups, certify_rows, most_fitted, seed)
    if len({group.label for group in divided.fit}) < 2:
        raise InvalidRequest(
            f"Of {len(groups):,} distinct texts {len(divided.fit):,} are left to fit on, with fewer than 2 labels: the others are kept aside, "
            "or have contradicting labels. Correct the labels, give more, or keep fewer rows aside (--certify-rows)."
        )
    return Rows(texts, labels, groups, divided, seed)


def _targets(labels: Sequence[str], fields: Sequence[str] | None) -> list[Target]:
    """What is to be learned: the label, or each field of it."""
    if fields is None:
        return [_target(None, labels)]
    values = [values_of(label) for label in labels]
    return [_target(name, [row[name] for row in values]) for name in fields]


def _target(name: str | None, labels: Sequence[str]) -> Target:
    known = sorted(set(labels))
    if len(known) > MAX_LABELS:
        raise InvalidRequest(
            f"Field {name!r} has {len(known):,} values, more than the {MAX_LABELS:,} of a closed list. Leave it out, or train a "
            "language model on it (`rightsize export`)."
        )
    place = {label: at for at, label in enumerate(known)}
    return Target(name, tuple(known), np.array([place[label] for label in labels], np.int32))


def _made(rows: Rows, targets: list[Target], encoder: Encoder | None, tell: Progress) -> Made:
    """Encode, cross-fit, calibrate, fit on everything that may be fitted on, and score what is kept aside."""
    texts = rows.fit_texts
    vectors = None if encoder is None else _encoded(encoder, texts, tell)
    sound: list[calibration.Calibrated] = []
    scope = calibration.everything()
    places: tuple[float, ...] = ()
    if len(texts) >= calibration.LEAST_ROWS:
        part = _within(tell, 0.3, 0.8)
        looks, familiar = calibration.cross_fit(texts, vectors, targets, encoder, rows.seed, part)
        tell("calibrating", 0.8)
        sound = [calibration.calibrate(one, target) for one, target in zip(looks, targets, strict=True)]
        scope, places = calibration.scope_of(familiar), calibration.places_of(familiar)
    tell("fitting on all rows but those kept aside", 0.82)
    fitted = fitting.fit_heads(texts, vectors, targets)
    calibrated = [one.arrays for one in sound] or [calibration.uncalibrated(target, fitted) for target in targets]
    specialist = calibration.assemble(fitted, targets, calibrated, scope, encoder)
    tell("scoring the rows kept aside", 0.92)
    answers = specialist.predict([text for text, _ in rows.certify])
    kept = Kept(
        tuple(
            KeptRow(text_sha256(text), answer.score, answer.label, label)
            for (text, label), answer in zip(rows.certify, answers, strict=True)
        ),
        _fitted_scores(sound),
        frozenset(short(text_sha256(text)) for text in texts),
        places,
    )
    return Made(specialist, kept, _cross_said(targets, sound), _cross_fitted(sound), _suspects(rows, targets, sound))


def _within(tell: Progress, first: float, last: float) -> Progress:
    """Progress of a part of the whole."""
    return lambda step, share: tell(step, first + share * (last - first))


def _encoded(encoder: Encoder, texts: Sequence[str], tell: Progress) -> Vectors:
    """The texts' vectors."""
    found = []
    for start in range(0, len(texts), _ENCODE_AT_ONCE):
        tell(f"reading {len(texts):,} texts", 0.3 * start / len(texts))
        found.append(encoder.encode(texts[start : start + _ENCODE_AT_ONCE]))
    return np.concatenate(found)


def _fitted_scores(sound: Sequence[calibration.Calibrated]) -> tuple[tuple[float, bool], ...]:
    """Score and whether all is right, of each row that was fitted on, by heads that did not see it."""
    if not sound:
        return ()
    total = np.prod([one.score for one in sound], axis=0)
    right = np.all([one.right for one in sound], axis=0)
    return tuple((float(total[at]), bool(right[at])) for at in range(len(right)))


def _cross_said(targets: Sequence[Target], sound: Sequence[calibration.Calibrated]) -> tuple[str, ...]:
    """What heads say of each row that was fitted on and that they did not see, in the form of its label."""
    if not sound:
        return ()
    said = [[target.labels[at] for at in one.pooled.argmax(axis=1)] for target, one in zip(targets, sound, strict=True)]
    if targets[0].name is None:
        return tuple(said[0])
    return tuple(
        json.dumps({str(target.name): json.loads(value) for target, value in zip(targets, row, strict=True)}, ensure_ascii=False, sort_keys=True)
        for row in zip(*said, strict=True)
    )  # fmt: skip


def _cross_fitted(sound: Sequence[calibration.Calibrated]) -> dict[str, Any]:
    if not sound:
        return {}
    right = np.all([one.right for one in sound], axis=0)
    sure = np.prod([np.exp(one.pooled.max(axis=1)) for one in sound], axis=0)
    return {
        "n": len(right),
        "accuracy": float(right.mean()),
        "calibration_error": calibration_error(sure, right),
        "score_error": calibration_error(np.prod([one.score for one in sound], axis=0), right),
        "weights": [[round(float(weight), 6) for weight in one.arrays["pool"]] for one in sound],
    }


def _suspects(rows: Rows, targets: Sequence[Target], sound: Sequence[calibration.Calibrated]) -> dict[str, Any]:
    """Rows whose label looks wrong; of several fields each is looked at."""
    numbers = [next(at for at in group.rows if rows.labels[at] == group.label) + 1 for group in rows.split.fit]
    found = [
        ({"field": target.name} if target.name else {}) | one.as_dict()
        for target, known in zip(targets, sound, strict=bool(sound))
        for one in noise.suspects(np.exp(known.pooled), target.numbers.tolist(), target.labels, numbers)
        if one.confidence >= _CONFIDENT
    ]
    found.sort(key=lambda one: -float(one["confidence"]))
    return {"n": len(found), "listed": found[: noise.MOST_LISTED]}


def _check(texts: Sequence[str], labels: Sequence[str]) -> tuple[str, ...] | None:
    """The fields of the labels, if they have some; raises InvalidRequest for rows that cannot be trained on."""
    if len(texts) != len(labels):
        raise InvalidRequest(f"There are {len(texts)} texts, but {len(labels)} labels.")
    if len(texts) > MAX_ROWS:
        raise InvalidRequest(f"{len(texts):,} rows are more than the {MAX_ROWS:,} allowed. Train on a sample of them.")
    for at, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if not text.strip() or not label.strip() or len(text) > MAX_TEXT_CHARS or label_fault(label):
            limits = f"texts have 1 to {MAX_TEXT_CHARS:,} characters, labels 1 to {MAX_LABEL_CHARS} (objects: {MAX_OBJECT_CHARS:,})"
            raise InvalidRequest(f"Row {at} cannot be used: {limits}.")
    fields = fields_of(labels)
    counts = Counter(labels)
    if len(counts) < 2:
        raise InvalidRequest(
            f"A specialist needs at least 2 labels, and the rows have {len(counts)}. Add rows of another."
        )
    if fields is not None:
        return fields
    if len(counts) > MAX_LABELS:
        raise InvalidRequest(
            f"{len(counts):,} labels are more than the {MAX_LABELS:,} allowed. Is it the right column?"
        )
    rare = sorted(label for label, count in counts.items() if count < 2)
    if rare:
        raise InvalidRequest(
            f"Each label needs at least 2 rows; these have one: {named(rare)}. Add rows or remove these."
        )
    return None
