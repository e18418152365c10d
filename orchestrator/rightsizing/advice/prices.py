"""What an answer costs, with the interval that its charges leave. Pure.

The interval is Student's t on the mean of the charges: unlike those of quality it is no exact statement for finite samples, since a charge
has no known upper end. A model that is priced by the request has one price, and no interval.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from scipy.special import stdtrit

from orchestrator.rightsizing.evidence.facts import Amount, Audits, ModelFacts

LEVEL: Final = 0.95
FEWEST: Final = 2


def answer_price(model: ModelFacts) -> Amount | None:
    """What one answer of a model costs callers; None where nobody knows."""
    if model.answer_usd is None:
        return None
    if not model.answers:
        return Amount.exactly(model.answer_usd)
    return mean_price(model.charge_usd, model.charge_squares, model.answers)


def audit_price(audits: Audits) -> Amount | None:
    """What one audit cost: the reference on rows drawn from those that it did not answer itself. None without audits."""
    return mean_price(audits.cost_usd, audits.charge_squares, audits.count) if audits.count else None


def mean_price(total: Decimal, squares: Decimal | None, n: int, level: float = LEVEL) -> Amount:
    """The mean of n charges with its interval; both ends are the mean where their squares were not added up."""
    mean = total / n
    if squares is None or n < FEWEST:
        return Amount.exactly(mean)
    variance = max(Decimal(0), (squares - total * mean) / (n - 1))
    reach = (variance / n).sqrt() * Decimal(repr(float(stdtrit(n - 1, 0.5 + level / 2))))
    return Amount(mean, max(Decimal(0), mean - reach), mean + reach)
