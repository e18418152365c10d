"""What `rightsize router` does: train, calibrate, evaluate, show. Each returns plain data, and needs no server."""

from __future__ import annotations

import hashlib
import platform
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.fleet import load
from orchestrator.learned import router_folder
from orchestrator.learned.encoder import MODEL, Encoder, encoders_of, open_encoder
from orchestrator.learned.router_folder import Known, Stored
from orchestrator.learned.shape import MOST_CHARS
from orchestrator.rightsizing.router import calibrate as setting
from orchestrator.rightsizing.router import figures
from orchestrator.rightsizing.router.figures import Array
from orchestrator.rightsizing.router.fit import LEAST_PROMPTS, MOST_FITTED, MOST_FITTED_CHARS, Progress, check, fit
from orchestrator.rightsizing.router.heads import OPTIONS
from orchestrator.rightsizing.router.outcomes import Outcomes, read_outcomes, text_hashes
from orchestrator.settings import Settings

_HELD_OUT: Final = 5
"""One prompt in so many is held out from fitting."""
_MOST_HELD: Final = 10_000
_MOST_COST_USD: Final = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a job costs on each model, in the order of the router's models."""

    usd: Array
    shares: bool
    """Nobody gave costs: the better of two models has 1 and the other 0, so that a mean cost is the share of its calls."""

    def as_dict(self, models: Sequence[str]) -> dict[str, float] | None:
        """By model; None where nobody gave them."""
        return None if self.shares else dict(zip(models, map(float, self.usd), strict=True))


def train(
    settings: Settings,
    outcomes_file: Path,
    tell: Progress,
    *,
    ignore: Sequence[str] = (),
    costs: Mapping[str, float] | None = None,
    encoder: str = "none",
    seed: int = 0,
) -> dict[str, Any]:
    """Train a router from a file of outcomes and make it the one in use; returns its record with figures on unseen rows.

    Raises InvalidRequest for a file that is wrong or does not suffice.
    """
    began = time.monotonic()
    tell("reading the outcomes", 0.0)
    given = read_outcomes(outcomes_file, ignore)
    complete = given.complete()
    outcomes = given.take(complete)
    hashes = text_hashes(outcomes.prompts)
    check(outcomes, hashes)
    quality = dict(zip(outcomes.models, map(float, outcomes.values.mean(axis=0)), strict=True))
    paid = _costs(quality, costs or {}, {})
    encoding = _encoder(settings, encoder, tell)
    learn, held = _split(outcomes.prompts, hashes, seed)
    fitted = fit(outcomes.take(learn), hashes[learn], encoding, seed=seed, tell=tell)
    said = fitted.router.predict([outcomes.prompts[row] for row in held])
    now = datetime.now(UTC)
    record: dict[str, Any] = {
        "version": f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        "trained_at": now.isoformat(timespec="seconds"),
        "models": list(outcomes.models),
        "quality": quality,
        "costs_usd": paid.as_dict(outcomes.models),
        "n": len(given.prompts),
        "incomplete": len(given.prompts) - len(complete),
        "duplicates": len(hashes) - len(np.unique(hashes)),
        "fitted": len(learn),
        "held_out": len(held),
        "encoder": None if encoding is None else {"model": MODEL, "sha256": encoding.sha256},
        "data_sha256": _digest(given),
        "seed": seed,
        "options": {**OPTIONS, "most_fitted": MOST_FITTED, "held_out": _HELD_OUT},
        "libraries": _libraries(),
        "figures": _figures(fitted.cross, outcomes.values[learn], hashes[learn], paid, outcomes.models),
    }
    record["seconds"] = round(time.monotonic() - began, 3)
    router_folder.save(
        settings.blobs,
        fitted.router,
        record,
        Known(hashes[learn], fitted.cross, outcomes.values[learn]),
        Known(hashes[held], said, outcomes.values[held]),
        None if encoding is None else encoding.sha256,
    )
    return {**record, "not_in_fleet": strangers(settings, outcomes.models)}


def calibrate(
    settings: Settings,
    *,
    budget_usd: float | None = None,
    quality: float | None = None,
    delta: float = 0.05,
    costs: Mapping[str, float] | None = None,
    outcomes_file: Path | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """Set the router's threshold from a budget a job or a quality target, on rows that were not fitted.

    What is issued becomes the rule in use; else it is said what would do, and the rule before stays.
    """
    if (budget_usd is None) == (quality is None):
        raise InvalidRequest("Give either a budget for a job or a quality: --budget USD or --quality Q.")
    if not 0 < delta < 0.5:
        raise InvalidRequest(f"delta is {delta}, and must lie between 0 and 0.5, such as 0.05.", param="delta")
    stored = opened(settings)
    models = stored.router.models
    paid = _costs(stored.record["quality"], costs or {}, stored.record["costs_usd"] or {})
    known, left_out = _unseen(stored, outcomes_file, ignore)
    known = _once(known)
    laid = setting.thresholds(stored.fitted.said, paid.usd)
    attempt = router_folder.attempt_of(stored.folder, _tried(known, laid, paid))
    spent = delta * 6 / (np.pi * attempt) ** 2
    found = setting.choices(laid, setting.Rows(known.said, known.values), paid.usd, spent)
    if quality is not None:
        made = setting.for_quality(found, quality, len(known.said), spent)
    else:
        made = setting.for_budget(found, float(budget_usd or 0), paid.usd)
    rule = {
        "issued": made.issued, "asked": {"quality": quality, "budget_usd": budget_usd}, "delta": delta, "delta_spent": spent,
        "attempt": attempt, "n": len(known.said), "costs_usd": paid.as_dict(models), **made.choice.as_dict(models),
        "more_rows": made.more_rows, "reason": made.reason, "rows": _rows_told(outcomes_file, left_out),
        "thresholds": [one.as_dict(models) for one in found],
    }  # fmt: skip
    if made.issued:
        router_folder.put_rule(stored.folder, rule)
    return {**rule, "not_in_fleet": strangers(settings, models)}


def evaluate(
    settings: Settings,
    *,
    costs: Mapping[str, float] | None = None,
    outcomes_file: Path | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """APGR, CPT and the cost-quality curve on rows that were not fitted, beside the best single model and random mixing."""
    stored = opened(settings)
    paid = _costs(stored.record["quality"], costs or {}, stored.record["costs_usd"] or {})
    known, left_out = _unseen(stored, outcomes_file, ignore)
    return {
        "version": stored.record["version"],
        "models": list(stored.router.models),
        "costs_usd": paid.as_dict(stored.router.models),
        "rows": _rows_told(outcomes_file, left_out),
        **_figures(known.said, known.values, known.hashes, paid, stored.router.models),
    }


def show(settings: Settings) -> dict[str, Any]:
    """The router in use: its record, and the rule by which it chooses (null where none is set)."""
    stored = opened(settings)
    rule = router_folder.current_rule(settings.blobs)
    return {**stored.record, "rule": rule, "not_in_fleet": strangers(settings, stored.router.models)}


def strangers(settings: Settings, models: Sequence[str]) -> list[str]:
    """Those of a router's models that the fleet does not have: what it would give to them goes by the tree."""
    known = load(settings.config).fleet.by_name
    return [model for model in models if model not in known]


def opened(settings: Settings) -> Stored:
    """The router in use; raises NotFound with the command that makes one."""
    folder = router_folder.current(settings.blobs)
    if folder is None:
        raise NotFound("There is no router yet. Train one: rightsize router train --outcomes FILE.csv")
    encoder = open_encoder(encoders_of(settings.blobs)) if router_folder.needs_encoder(folder) else None
    return router_folder.load(folder, encoder)


def _split(
    prompts: Sequence[str], hashes: NDArray[np.uint64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit, and rows to hold out: whole prompts, drawn evenly, in an order that says nothing of their outcomes."""
    names, of_row = np.unique(hashes, return_inverse=True)
    source = np.random.default_rng(seed)
    rank = source.permutation(len(names))[of_row]
    count = min(len(names) // _HELD_OUT, _MOST_HELD, len(names) - LEAST_PROMPTS)
    order = source.permutation(len(hashes))
    learn = order[rank[order] >= count][:MOST_FITTED]
    chars = np.cumsum([min(len(prompts[row]), MOST_CHARS) for row in learn])
    return np.sort(learn[chars <= MOST_FITTED_CHARS]), order[rank[order] < count]


def _once(known: Known) -> Known:
    """The first row of each prompt: rows that say the same thing twice would count as two."""
    _, first = np.unique(known.hashes, return_index=True)
    at = np.sort(first)
    return Known(known.hashes[at], known.said[at], known.values[at])


def _unseen(stored: Stored, outcomes_file: Path | None, ignore: Sequence[str]) -> tuple[Known, dict[str, int]]:
    """Rows that were not fitted, and how many others were left out: those that were held out, or those of a file."""
    if outcomes_file is None:
        if not len(stored.held.said):
            raise InvalidRequest("No rows were held out of so few. Give others: --outcomes FILE.csv")
        return stored.held, {"seen": 0, "incomplete": 0}
    given = read_outcomes(outcomes_file, ignore)
    at = [given.models.index(model) for model in stored.router.models if model in given.models]
    if others := [model for model in given.models if model not in stored.router.models]:
        raise NotFound(
            f"The router has not learned {', '.join(others)[:300]}. Leave such columns of {outcomes_file.name} out with "
            f"{' '.join(f'--ignore {model!r}' for model in others)[:300]}, or train it on outcomes that have them."
        )
    if missing := sorted(set(stored.router.models) - set(given.models)):
        raise InvalidRequest(
            f"{outcomes_file.name} has no column {', '.join(missing)}. Add the outcomes of every model of the router."
        )
    outcomes = Outcomes(given.prompts, stored.router.models, given.values[:, at])
    hashes = text_hashes(outcomes.prompts)
    complete = np.isfinite(outcomes.values).all(axis=1)
    unseen = ~np.isin(hashes, stored.fitted.hashes)
    kept = np.flatnonzero(complete & unseen)
    if not len(kept):
        raise InvalidRequest(
            f"Of {len(hashes):,} rows {int((~unseen).sum()):,} were fitted and {int((~complete).sum()):,} lack an outcome: none is left "
            "that says how good the router is. Give other rows."
        )
    kept = kept[np.random.default_rng(0).permutation(len(kept))]
    said = stored.router.predict([outcomes.prompts[row] for row in kept])
    left_out = {"seen": int((~unseen).sum()), "incomplete": int((~complete & unseen).sum())}
    return Known(hashes[kept], said, outcomes.values[kept]), left_out


def _figures(
    said: NDArray[np.float32],
    values: NDArray[np.float32],
    hashes: NDArray[np.uint64],
    costs: Costs,
    models: Sequence[str],
) -> dict[str, Any]:
    moves = figures.steps(said.astype(np.float64), values.astype(np.float64), costs.usd)
    found = figures.figures(moves, hashes)
    singles = figures.best_single(values.astype(np.float64), costs.usd)
    return {
        **found.as_dict(),
        "off_by": dict(zip(models, figures.off_by(said, values), strict=True)),
        "random_mixing": figures.mixing(moves),
        "best_single": [{**one, "model": models[int(one["model"])]} for one in singles],
    }


def _costs(quality: Mapping[str, float], given: Mapping[str, float], before: Mapping[str, float]) -> Costs:
    """The cost of each model, by the quality of each: as given now, else as given when the router was trained."""
    models = list(quality)
    if unknown := sorted(set(given) - set(models)):
        raise NotFound(
            f"The router has not learned {', '.join(unknown)[:300]}. Its models: {', '.join(models)[:300]}.",
            param="cost",
        )
    known = {**before, **given}
    if not known and len(models) == 2:
        best = max(models, key=lambda model: quality[model])
        return Costs(np.array([float(model == best) for model in models]), shares=True)
    if missing := [model for model in models if model not in known]:
        raise InvalidRequest(
            f"What does a job cost on {', '.join(missing)[:300]}? Give --cost MODEL=USD for each.", param="cost"
        )
    usd = np.array([known[model] for model in models], np.float64)
    if not np.isfinite(usd).all() or (usd < 0).any() or (usd > _MOST_COST_USD).any():
        raise InvalidRequest(
            f"A job costs 0 to {_MOST_COST_USD:,.0f} US dollars on a model. Correct --cost.", param="cost"
        )
    return Costs(usd, shares=False)


def _encoder(settings: Settings, wanted: str, tell: Progress) -> Encoder | None:
    """The sentence encoder where it is wanted and there; which of the two is said."""
    if wanted == "none":
        return None
    try:
        found = open_encoder(encoders_of(settings.blobs))
    except NotFound as error:
        tell(f"without sentence vectors: {error.message}", 0.0)
        return None
    tell(f"with sentence vectors of {MODEL}", 0.0)
    return found


def _rows_told(outcomes_file: Path | None, left_out: Mapping[str, int]) -> dict[str, Any]:
    return {"from": "held out" if outcomes_file is None else outcomes_file.name, **left_out}


def _tried(known: Known, laid: Sequence[float], paid: Costs) -> str:
    """What an attempt is known by: its rows with what was said of them and came of them, and the thresholds and costs that they are held to."""
    parts = (known.hashes, known.said, known.values, np.asarray(laid), paid.usd)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def _digest(outcomes: Outcomes) -> str:
    digest = hashlib.sha256("\0".join(outcomes.models).encode())
    digest.update(outcomes.values.tobytes())
    for prompt in outcomes.prompts:
        data = prompt.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _libraries() -> dict[str, str]:
    import scipy
    import sklearn

    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return {**versions, "scipy": str(scipy.__version__), "scikit-learn": str(sklearn.__version__)}
