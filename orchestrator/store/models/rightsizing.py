"""What right-sizing knows of a task: labels, certificates, the stages of its promotion, and audits."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import REAL, Double
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Key, When

Probability = Annotated[float, mapped_column(REAL)]
Share = Annotated[float, mapped_column(Double)]


class Label(Base):
    """What the right answer to a text of a task is, or whether an answer was good."""

    __tablename__ = "labels"
    id: Mapped[Key]
    tenant_id: Mapped[Big]
    task: Mapped[str]
    job_id: Mapped[Big | None]
    text_hash: Mapped[bytes]
    """SHA-256 of the text, normalised as `learned` does it: equal texts have one label, the newest."""
    source: Mapped[str]
    """`label`, `feedback`, `review` or `judge`."""
    label: Mapped[str | None]
    good: Mapped[bool | None]
    probability: Mapped[Probability | None]
    """With which its row was drawn to be labelled; None where nobody drew it."""
    given_by: Mapped[str]
    created_at: Mapped[When]


class Certificate(Base):
    """An attempt to certify a specialist, issued or not: what it rests on, and what it says."""

    __tablename__ = "certificates"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    task: Mapped[str]
    task_version: Mapped[int]
    specialist: Mapped[str]
    """The version of the specialist."""
    measure: Mapped[str]
    """`accuracy`, of labels, or `agreement` with the reference."""
    reference: Mapped[str | None]
    """The revision of the model that was agreed with: with another one the certificate is void."""
    reference_low: Mapped[Share | None]
    """The least accuracy that the reference itself is taken to have."""
    attempt: Mapped[int]
    target: Mapped[Share]
    delta: Mapped[Share]
    delta_spent: Mapped[Share]
    issued: Mapped[bool]
    threshold: Mapped[Share | None]
    share: Mapped[Share | None]
    share_low: Mapped[Share | None]
    share_high: Mapped[Share | None]
    n: Mapped[int]
    accepted: Mapped[int]
    errors: Mapped[int]
    bound: Mapped[Share | None]
    more_labels: Mapped[int | None]
    """Of an attempt that issued nothing, how many more rows would probably do; None where no number would."""
    frame: Mapped[dict[str, Any]]
    """Where the rows come from, how they were drawn, and in which window."""
    data_sha256: Mapped[bytes]
    reason: Mapped[str]
    created_at: Mapped[When]
    expires_at: Mapped[When]


class CertificationRow(Base):
    """A text that an attempt has used up: no later one may rest on it."""

    __tablename__ = "certification_rows"
    tenant_id: Mapped[Key]
    task: Mapped[str] = mapped_column(primary_key=True)
    text_hash: Mapped[bytes] = mapped_column(primary_key=True)
    certificate_id: Mapped[Big]


class Stage(Base):
    """A step of a task's promotion: the newest row of a task is in force."""

    __tablename__ = "stages"
    id: Mapped[Key]
    tenant_id: Mapped[Big]
    task: Mapped[str]
    stage: Mapped[str]
    """`shadow`, `canary`, `full` or `demoted`."""
    certificate_id: Mapped[Big | None]
    specialist: Mapped[str | None]
    model: Mapped[str | None]
    """The fleet's model that serves specialists."""
    reference: Mapped[str | None]
    """The fleet's model that takes over, and that audits ask."""
    threshold: Mapped[Share | None]
    share: Mapped[Share]
    """Of the traffic that the specialist is asked first."""
    audit_share: Mapped[Share]
    """The probability with which a job is drawn for an audit, whatever will be answered."""
    watch: Mapped[dict[str, Any] | None]
    """The state of the test that demotes."""
    watched_to: Mapped[Big]
    """The last audit that the test has seen."""
    looks: Mapped[int]
    """How often it was looked at for drift; all looks of a stage share one chance of a false alarm."""
    looked_to: Mapped[Big]
    """The last job that a look was about: the next one is about jobs after it."""
    drifted_at: Mapped[When | None]
    """When what it is asked was seen to have changed: from then on more is audited."""
    automatic: Mapped[bool]
    """Whether the next steps are taken without anybody, as far as certificates allow. Demotion always is."""
    frozen: Mapped[bool]
    """Whether somebody holds it by hand: it stays at its stage until somebody promotes or demotes it."""
    reason: Mapped[str]
    set_by: Mapped[str]
    created_at: Mapped[When]


class Audit(Base):
    """A job that was drawn before it was answered, to be answered by another model as well."""

    __tablename__ = "audits"
    id: Mapped[Key]
    tenant_id: Mapped[Big]
    task: Mapped[str]
    stage_id: Mapped[Big]
    kind: Mapped[str]
    """`audit`: the specialist's accepted answer is held against the reference. `shadow`: the reference's against the specialist.
    `label`: a person is to say what is right, and no model is asked."""
    probability: Mapped[Probability]
    to_label: Mapped[Probability | None]
    """With which probability it was drawn for people to label, where it was."""
    job: Mapped[UUID]
    state: Mapped[str]
    """`drawn`, `asked`, `decided`, or `void` where there was nothing to compare."""
    audit_job_id: Mapped[Big | None]
    text_hash: Mapped[bytes | None]
    score: Mapped[Share | None]
    agrees: Mapped[bool | None]
    missing: Mapped[bool]
    """Whether the other answer never came: that counts as one that does not agree."""
    created_at: Mapped[When]
    asked_at: Mapped[When | None]
    decided_at: Mapped[When | None]
