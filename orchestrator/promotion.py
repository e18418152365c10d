"""How far a task's specialist is promoted, and what that means for one request. Pure.

A promotion is staged. In `shadow` the reference answers, and of a share of the jobs the specialist is asked as well. In `canary` a share
of the jobs asks the specialist first, in `full` all do: what it is not sure enough of goes on to the reference. `demoted` is the way back.
Which jobs are drawn is decided before anything is answered, by a probability that is stored with the draw: what audits say can be weighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Stage = Literal["shadow", "canary", "full", "demoted"]
STAGES: Final[tuple[Stage, ...]] = ("shadow", "canary", "full", "demoted")
CERTIFIED: Final = "certified"
"""The rule of a route that a certificate allows."""
USUAL_TARGET: Final = 0.98
"""Of a certificate, where neither caller nor task nor reference says which."""
STAGE_AUDITS: Final = 200
"""Second answers of a stage before the next one."""
REST_DAYS: Final = 7
"""After a demotion, before a task is tried again: without it a task at its bound would go round in circles."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """The stage of a task that is in force."""

    stage_id: int
    task: str
    stage: Stage
    certificate: str | None
    """Its public id."""
    specialist: str
    """The version that the certificate is about."""
    model: str
    """The fleet's model that serves specialists."""
    reference: str
    """The model that takes over, and that audits ask."""
    threshold: float
    """The least score with which the specialist answers alone."""
    share: float
    """Of the requests that ask the specialist first."""
    audit_share: float

    def asks_first(self, lot: float) -> bool:
        """Whether a request with this lot, drawn from 0 to 1, asks the specialist first."""
        return self.stage in ("canary", "full") and lot < self.share

    def accept(self) -> dict[str, object]:
        """What the worker holds the specialist's answer to."""
        return {"at": self.threshold, "model": self.model, "specialist": self.specialist}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A job that another model will answer as well."""

    stage_id: int
    task: str
    kind: Literal["shadow", "audit"]
    probability: float


def drawn(promotion: Promotion | None, rule: str, model: str, lot: float) -> Drawn | None:
    """Whether a job that was routed so is drawn, by a lot from 0 to 1."""
    if promotion is None or lot >= promotion.audit_share:
        return None
    if rule == CERTIFIED:
        return Drawn(promotion.stage_id, promotion.task, "audit", promotion.audit_share)
    if rule == "default" and promotion.stage in ("shadow", "canary") and model == promotion.reference:
        return Drawn(promotion.stage_id, promotion.task, "shadow", promotion.audit_share)
    return None
