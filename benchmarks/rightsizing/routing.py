"""The learned router on RouteLLM's outcomes for MMLU (Mixtral 8x7B and GPT-4): five fixed folds, grouped by prompt.

Each fold's prompts are predicted by a router that saw none of them; the figures are of all predictions together. The column with
the subject is not used, and the prompts that the file marks as contaminated are left out, as RouteLLM does. Beside it, on the same
folds: TF-IDF of words and word pairs with a logistic regression for each model, as one would do it first.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, Scale, at_least, at_most, told
from benchmarks.rightsizing.given import data, left_out
from orchestrator.rightsizing.router import figures
from orchestrator.rightsizing.router.figures import Estimate, Steps
from orchestrator.rightsizing.router.fit import fit, folds
from orchestrator.rightsizing.router.outcomes import Outcomes, read_outcomes, text_hashes

NAME = "routing/routellm_mmlu.csv"
FOLDS, SEED = 5, 0
WANTED, AIM, PUBLISHED = 0.70, 0.72, 0.603
MOST_MS = 3.0
BATCH = 500
QUICK_ROWS = 1_500


def measure(scale: Scale) -> list[Row]:
    """APGR, CPT, the gain over TF-IDF, and the time of a prediction."""
    path = data(NAME)
    if path is None:
        return left_out("routing", NAME)
    rows = outcomes_in(path)
    if scale.quick:
        rows = rows.take(np.random.default_rng(SEED).permutation(len(rows.prompts))[:QUICK_ROWS])
    hashes = text_hashes(rows.prompts)
    said, plain, taken_ms, fit_s = _predicted(rows, hashes)
    ours, theirs = (_steps(one, rows) for one in (said, plain))
    found = figures.figures(ours, hashes)
    baseline = figures.figures(theirs, hashes)
    assert found.apgr is not None
    assert baseline.apgr is not None
    gain = figures.compare(ours, theirs, hashes)
    note = (
        f"{found.n:,} prompts, {len(hashes) - len(np.unique(hashes))} of them twice; {FOLDS} folds grouped by prompt; "
    )
    return [
        at_least("routing: APGR on MMLU", found.apgr.value, WANTED, "", baseline=baseline.apgr.value,
                 note=f"{note}95%: {_between(found.apgr)}; baseline: TF-IDF with logistic regression; aim {AIM}; "
                      f"RouteLLM's best published {PUBLISHED}"),
        at_least("routing: APGR above TF-IDF, lower end", gain.low, 0.0, "", note=f"paired bootstrap over prompts, 95%: {_between(gain)}"),
        *(told(f"routing: CPT({share})", one.value, "share of calls", note=f"95%: {_between(one)}") for share, one in found.cpt.items() if one),
        told("routing: off by, in the mean over tenths", max(figures.off_by(said, rows.values)), "probability",
             note="calibration of the worse of the two models"),
        at_most("routing: CPU of a prediction in batches", taken_ms, MOST_MS, "ms", note=f"one core, batches of {BATCH}; all heads"),
        told("routing: training", fit_s, "s", note=f"mean of {FOLDS}, on four fifths of the prompts"),
    ]  # fmt: skip


def outcomes_in(path: Path) -> Outcomes:
    """The file's outcomes, without the prompts that it marks as contaminated."""
    read = read_outcomes(path, ["subject"])
    marked = read.models.index("contaminated")
    rows = read.take(np.flatnonzero(read.values[:, marked] == 0))
    kept = [at for at in range(len(read.models)) if at != marked]
    return Outcomes(rows.prompts, tuple(read.models[at] for at in kept), np.ascontiguousarray(rows.values[:, kept]))


def _predicted(rows: Outcomes, hashes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], float, float]:
    """What the router and the baseline say of each prompt unseen; milliseconds of a prediction and seconds of a training."""
    said, plain = np.zeros_like(rows.values), np.zeros_like(rows.values)
    part = folds(hashes, FOLDS, SEED)
    fit_s = cpu_s = 0.0
    for number in range(FOLDS):
        learn, held = np.flatnonzero(part != number), np.flatnonzero(part == number)
        known, unseen = rows.take(learn), [rows.prompts[row] for row in held]
        began = time.monotonic()
        router = fit(known, hashes[learn], None, seed=SEED).router
        fit_s += time.monotonic() - began
        cpu = time.process_time()
        said[held] = np.concatenate([router.predict(unseen[at : at + BATCH]) for at in range(0, len(unseen), BATCH)])
        cpu_s += time.process_time() - cpu
        plain[held] = _tf_idf(known, unseen)
    return said, plain, cpu_s / len(rows.prompts) * 1000, fit_s / FOLDS


def _tf_idf(known: Outcomes, unseen: list[str]) -> NDArray[Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    learned = words.fit_transform(known.prompts)
    asked = words.transform(unseen)
    columns = [
        LogisticRegression(max_iter=1000).fit(learned, column > 0.5).predict_proba(asked)[:, 1]
        for column in known.values.T
    ]
    return np.stack(columns, axis=1)


def _steps(said: NDArray[Any], rows: Outcomes) -> Steps:
    return figures.steps(said.astype(np.float64), rows.values.astype(np.float64), np.array([0.0, 1.0]))


def _between(found: Estimate) -> str:
    return f"{found.low:.4f} to {found.high:.4f}"
