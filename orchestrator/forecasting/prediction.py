"""What some jobs will come to in all, by a history: one number, and how far off it may be for which reasons.

The model: a job of group b, such as a batch, has y = a + u_b + s x + e, where x are its expected input tokens, u_b is what is common
to its group and e is its own. The slope s comes by least squares from within the groups (analysis of covariance), drawn towards
an answer that is as long whatever is asked. The variance of u_b is Henderson's first method of moments (1953), never below 0. The
mean over groups weighs each by how well it is known (generalised least squares). While there are few groups or jobs, what is usual
stands in: a variance is drawn towards it as if a few more had been seen (a scaled inverse chi-square prior).

A total is taken to be log-normal: it is never negative, and is further off upwards than downwards. Its bounds are Student's t at
Satterthwaite's degrees of freedom (1946).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from orchestrator.forecasting.history import Basis, Bivariate, Found, Moments, Weights

SHARE: Final = 0.8
"""Of all totals, so many lie in their interval: a tenth below it, a tenth above."""
GROUPS_DIFFER: Final = {Basis.TASK_ON_MODEL: 0.1, Basis.TASK_ELSEWHERE: 0.4, Basis.MODEL: 1.0}
"""By what part of their mean batches of a task, models, or tasks usually differ."""
GROUPS_DF: Final = 2.0
"""What is usual counts as much as so many groups beyond the first."""
JOBS_DIFFER: Final = 0.5
"""The same of the jobs of one group."""
JOBS_DF: Final = 2.0
INPUT_DIFFERS: Final = 0.25
"""What is read differs by so much of what answers do: it can be counted beforehand."""
SECONDS_DIFFER: Final = 2.0
"""The same of the time that it takes, on which all that runs beside it tells."""
LEAST_CHANGE: Final = 0.05
"""However far the line is drawn, a mean falls no further than to so much of the mean that was seen."""
TOKENS: Final[Weights] = (0.0, 0.0, 0.0, 1.0, 1.0, 0.0)
"""All that is written: answer and thought."""
_NORMAL: Final = NormalDist()
_Z: Final = _NORMAL.inv_cdf((1 + SHARE) / 2)
WIDEST: Final = 8.0
"""The most by which a total may be uncertain, as the standard deviation of its logarithm."""


class Bounds(NamedTuple):
    """A total with its interval."""

    expected: float
    low: float
    high: float


class Asked(NamedTuple):
    """Further jobs: how many, and the mean of their expected input tokens."""

    jobs: int
    x: float


@dataclass(frozen=True, slots=True)
class Part:
    """What some jobs come to in all, and its standard deviations."""

    expected: float
    group_sd: float
    """Since their own batch, model or task may be unlike others."""
    line_sd: float
    """Since a mean over the length of the input is only known so well."""
    noise_sd: float
    """By chance, each job for itself."""
    group_df: float
    noise_df: float


class _Line(NamedTuple):
    """The slope within the groups, and what of a job it leaves open."""

    slope: float
    slope_variance: float
    variance: float
    df: float


class _Centre(NamedTuple):
    """The mean over the groups where x is `x`; `groups` and `jobs` are the parts of the two variances that its own has."""

    mean: float
    x: float
    variance: float
    """Between groups."""
    df: float
    groups: float
    jobs: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What a history says of one weighted sum of the measures, for any number of further jobs of any length."""

    line: _Line
    centre: _Centre
    proportional: float

    def part(self, asked: Asked) -> Part:
        """What some further jobs come to in all."""
        line, centre = self.line, self.centre
        off_x = asked.x - centre.x
        seen = centre.mean + self.proportional * centre.x
        mean = max(seen + (line.slope + self.proportional) * off_x, LEAST_CHANGE * seen, 0.0)
        # What is twice as long also differs by twice as much.
        size = asked.jobs * (max(mean / seen, LEAST_CHANGE) if seen > 0 else 1.0)
        known = size * math.sqrt(line.variance * centre.jobs)
        return Part(
            expected=asked.jobs * mean,
            group_sd=size * math.sqrt(centre.variance * (1 + centre.groups)),
            line_sd=math.hypot(known, asked.jobs * math.sqrt(line.slope_variance) * off_x),
            noise_sd=size * math.sqrt(line.variance / asked.jobs),
            group_df=centre.df,
            noise_df=line.df,
        )


def fitted(found: Found, weights: Weights) -> Fit:
    """Fit the model to a history."""
    whole = found.history.whole
    usual = _usual(whole, weights)
    proportional = _of_input(whole, weights)
    groups = [moments.along(weights).less(proportional) for moments in found.history.groups]
    line = _line(groups, usual)
    return Fit(line, _centre(groups, line, GROUPS_DIFFER[found.basis] * usual), proportional)


def total(parts: Sequence[Part], *, together: bool) -> Bounds:
    """The sum of parts that come from one history; `together` says that what is unlike others is so in all of them alike."""
    expected = sum(part.expected for part in parts)
    between = [part.group_sd for part in parts]
    groups = sum(between) ** 2 if together else sum(sd * sd for sd in between)
    jobs = sum(part.line_sd for part in parts) ** 2 + sum(part.noise_sd**2 for part in parts)
    variance = groups + jobs
    if expected <= 0 or variance <= 0:
        return Bounds(expected, expected, expected)
    group_df, noise_df = min(part.group_df for part in parts), min(part.noise_df for part in parts)
    df = variance**2 / (groups**2 / group_df + jobs**2 / noise_df)
    sd = min(math.sqrt(math.log1p(variance / expected**2)), WIDEST)
    middle, off = expected * math.exp(-sd * sd / 2), math.exp(student(df) * sd)
    return Bounds(expected, min(expected, middle / off), max(expected, middle * off))


def added(totals: Iterable[Bounds]) -> Bounds:
    """The sum of totals that have nothing to do with one another: what is off, above and below, adds up by squares."""
    totals = list(totals)
    expected = sum(one.expected for one in totals)
    below = math.hypot(*(one.expected - one.low for one in totals))
    above = math.hypot(*(one.high - one.expected for one in totals))
    return Bounds(expected, max(0.0, expected - below), expected + above)


def alike(totals: Iterable[Bounds]) -> Bounds:
    """The sum of totals that are off all together."""
    return Bounds(*map(sum, zip(*totals, strict=True)))


def cut(whole: Moments, limit: float) -> float:
    """What part of a mean answer is left where none may have more than `limit` tokens, if lengths are log-normal."""
    answers, seen = whole.sums[0], whole.along(TOKENS)
    if whole.most_tokens <= limit or not answers or seen.y <= 0:
        return 1.0
    mean = seen.y / answers
    sd = math.sqrt(math.log(max(seen.yy / answers / mean**2, 1.0 + 1e-9)))
    at = (math.log(max(limit, 1.0) / mean) + sd * sd / 2) / sd
    return min(1.0, _NORMAL.cdf(at - sd) + limit / mean * (1 - _NORMAL.cdf(at)))


def _usual(whole: Moments, weights: Weights) -> float:
    """How much a job has of what differs from group to group and from job to job. What every job has does not."""
    _, read, cached, spoken, thought, seconds = (w * y / whole.n for w, y in zip(weights, whole.sums, strict=True))
    return math.hypot(INPUT_DIFFERS * (read + cached), spoken + thought, SECONDS_DIFFER * seconds)


def _of_input(whole: Moments, weights: Weights) -> float:
    """The slope that what is read has by itself: so many tokens are read for each that was expected."""
    return (weights[1] * whole.sums[1] + weights[2] * whole.sums[2]) / whole.x if whole.x else 0.0


def _line(groups: Sequence[Bivariate], usual: float) -> _Line:
    """Least squares within the groups, drawn towards a slope of 0 as if by a prior: beyond proportion to the input it is unlikely."""
    n, x = sum(g.n for g in groups), sum(g.x for g in groups)
    xx = max(0.0, sum(g.xx - g.x * g.x / g.n for g in groups))
    xy = sum(g.xy - g.x * g.y / g.n for g in groups)
    yy = max(0.0, sum(g.yy - g.y * g.y / g.n for g in groups))
    df = JOBS_DF + n - len(groups)
    usually = JOBS_DF * (JOBS_DIFFER * usual) ** 2
    before = (usually + yy) / df
    if not before or not usual or not x:
        return _Line(0.0, 0.0, before, df)
    known = xx + before / (usual * n / x) ** 2
    slope = xy / known
    variance = (usually + max(0.0, yy - 2 * slope * xy + slope * slope * xx)) / df
    return _Line(slope, variance / known, variance, df)


def _centre(groups: Sequence[Bivariate], line: _Line, usual: float) -> _Centre:
    """The mean over the groups, and their variance: by the method of moments, drawn towards the usual one."""
    n, k = sum(g.n for g in groups), len(groups)
    levels = [(g.y - line.slope * g.x) / g.n for g in groups]
    level = sum(g.n * y for g, y in zip(groups, levels, strict=True)) / n
    squares = sum(g.n * (y - level) ** 2 for g, y in zip(groups, levels, strict=True))
    size = n - sum(g.n * g.n for g in groups) / n
    between = max(0.0, (squares - (k - 1) * line.variance) / size) if k > 1 else 0.0
    df = GROUPS_DF + k - 1
    variance = (GROUPS_DF * usual * usual + (k - 1) * between) / df
    shares = [1 / (variance + line.variance / g.n) if variance + line.variance else g.n for g in groups]
    shares = [share / sum(shares) for share in shares]
    x = sum(share * g.x / g.n for share, g in zip(shares, groups, strict=True))
    mean = sum(share * y for share, y in zip(shares, levels, strict=True)) + line.slope * x
    of_groups = sum(share * share for share in shares)
    of_jobs = sum(share * share / g.n for share, g in zip(shares, groups, strict=True))
    return _Centre(mean, x, variance, df, of_groups, of_jobs)


def student(df: float) -> float:
    """The quantile of Student's t at the upper end of the interval, by its expansion at the normal's (Fisher and Cornish, 1960)."""
    z, v = _Z, max(1.0, df)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92_160 * v**4)
    )
