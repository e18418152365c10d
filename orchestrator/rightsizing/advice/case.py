"""A task as the rules of its next step look at it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from orchestrator.promotion import USUAL_TARGET
from orchestrator.rightsizing.advice.economics import AdvicePolicy, Economics, rows_for_certificate
from orchestrator.rightsizing.advice.points import Plane, Point, delivered_quality
from orchestrator.rightsizing.advice.words import SIGNS, between, percent
from orchestrator.rightsizing.evidence.facts import CertificateFacts, Fact, Quality, Source, TaskFacts

WAITING: Final = frozenset({"collect", "wait_for_audits", "resting", "unsure"})
"""Rules after which nothing is to be done but to wait."""
OF_REQUESTS: Final = frozenset({"single"})
"""Rules whose step is taken by what requests say, where no command does it."""
IDLE: Final = frozenset({"none", "demoted"})
LIVE: Final = frozenset({"canary", "full"})
SAMPLE: Final = 200
"""Jobs whose labels give a first idea of a model's quality: to about 3 points where 95% are right."""
MOST_DRAWN: Final = 10_000
"""Jobs that can be drawn at once for people to label."""


@dataclass(frozen=True, slots=True)
class Step(Fact):
    """What to do next, and why; without a command, why nothing."""

    rule: str
    command: str | None
    why: str
    is_warning: bool = False
    """Whether it says not to move."""

    @property
    def opening(self) -> str:
        """What it comes to, in a word or two before the sentence."""
        if self.command or self.rule in OF_REQUESTS:
            return "Next step"
        if self.rule in WAITING:
            return "Wait"
        return "Do not move it" if self.is_warning else "Nothing to do"

    def as_dict(self) -> dict[str, Any]:
        """Its fields, with the opening."""
        return {**Fact.as_dict(self), "opening": self.opening}


@dataclass(frozen=True, slots=True)
class Watched(Fact):
    """The quality that decides about a stage, and what it must be."""

    quality: Quality
    promised: float
    what: str

    @property
    def sentence(self) -> str:
        """What was seen, after "of"."""
        ends = between(percent(self.quality.low), percent(self.quality.high))
        return f"{self.what} {ends} {SIGNS[self.quality.source]}"


@dataclass(frozen=True, slots=True)
class Case:
    """All that the rules look at."""

    facts: TaskFacts
    policy: AdvicePolicy
    plane: Plane | None
    """The plane that says most; None where no quality was measured at all."""
    cascade: Point | None
    pays: bool
    """Whether the cascade may cost less than the reference, at the better end of its interval."""
    sums: Economics | None

    @property
    def certificate(self) -> CertificateFacts | None:
        """The task's certificate, or its last attempt at one."""
        return self.facts.stage.certificate

    @property
    def source(self) -> Source:
        """What a certificate is to be about: right answers where labels are held for it or the plane is of labels, else agreement."""
        if self.facts.held_labels >= self.rows_for("labels"):
            return "labels"
        return "labels" if self.plane is not None and self.plane.source == "labels" else "agreement"

    @property
    def asked_target(self) -> float | None:
        """The target that somebody set, be it for this advice or with the task; None where nobody did."""
        if self.policy.target is not None or self.source != "labels":
            return self.policy.target
        return self.facts.quality_target

    @property
    def target(self) -> float:
        """What a certificate is to promise."""
        return self._target(self.source)

    def _target(self, source: Source) -> float:
        named = self.policy.target or (self.facts.quality_target if source == "labels" else None)
        needed = self.plane.needed if self.plane is not None and self.plane.source == source else None
        return min(0.999, named or needed or USUAL_TARGET)

    @property
    def rows_needed(self) -> int:
        """The rows below which no certificate can be tried."""
        return self.rows_for(self.source)

    def rows_for(self, source: Source) -> int:
        """The same by what it is about: of rows from the shadow half lay the grid of thresholds, and the other half is certified on."""
        rows = rows_for_certificate(self._target(source), self.policy.delta, self.policy.expected_share)
        return rows if source == "labels" else 2 * rows

    @property
    def rows_to_train(self) -> int:
        """The rows below which no training is begun: those of fitting, and as many as a certificate takes."""
        return self.policy.fit_rows + rows_for_certificate(self.target, self.policy.delta, self.policy.expected_share)

    @property
    def rows(self) -> int:
        """The rows that there are for one."""
        return self.facts.held_labels if self.source == "labels" else self.facts.fresh_rows

    @property
    def stage_audits(self) -> int:
        """The second answers that speak for or against this stage."""
        return self.facts.audits.in_stage

    def command(self, words: str) -> str:
        """A command about the task."""
        verb, _, rest = words.partition(" ")
        return f"rightsize {verb} {self.facts.task} {rest}".rstrip()

    @property
    def certify(self) -> str:
        """The command that tries a certificate."""
        measure = "accuracy" if self.source == "labels" else "agreement"
        return self.command(f"certify --target {self.target:g} --delta {self.policy.delta:g} --measure {measure}")

    def label(self, rows: int) -> str:
        """The command that draws so many jobs for people to label."""
        return self.command(f"label --draw {min(max(1, rows), MOST_DRAWN)} --out to-label.csv")

    @property
    def watched(self) -> Watched | None:
        """By audits of what the specialist answered alone, against its certificate; without any, by all that was delivered."""
        certificate = self.certificate
        first = None if certificate is None else self.facts.model(certificate.model)
        if certificate is not None and first is not None:
            alone = next((one for one in first.delivered if one.source == certificate.source), None)
            if alone is not None:
                return Watched(alone, certificate.target, "what it answered alone")
        if self.plane is None or self.plane.needed is None:
            return None
        whole = delivered_quality(self.facts, self.plane.source)
        return None if whole is None else Watched(whole, self.plane.needed, "all that was delivered")
