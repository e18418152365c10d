"""Kept aside: the rows that training put by for a certificate, as far as one can rest on them still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.flow.context import Context
from orchestrator.learned.record import Kept, KeptRow
from orchestrator.store.rightsizing import certificates

MOST_DISPUTED: Final = 1_000
"""Answers of the reference that people corrected or refuted; with more of them its answers show nothing of agreement."""


@dataclass(frozen=True, slots=True)
class KeptAside:
    """What training put by."""

    measure: Literal["accuracy", "agreement"]
    """What the rows are about: labels that people gave, or what the reference answered."""
    rows: tuple[KeptRow, ...] = ()
    """Those that no attempt has used."""
    disputed: tuple[bytes, ...] = ()
    """Texts to which the reference's answer was corrected or refuted. It learned none of these answers, and agreement with them is not known:
    all of them count as disagreement."""
    frame: Mapping[str, Any] | None = None
    version: str = ""
    kept: Kept | None = None
    """All that stays with the specialist; None where it lies on another machine."""


def kept_aside(context: Context, session: Session, tenant_id: int, task: str, trained: Row[Any]) -> KeptAside:
    """What is left of the rows that the training of a specialist put by.

    Answers of a reference are rows of agreement with that one revision of it alone: of several revisions, none is left.
    """
    from orchestrator.learned import specialist as specialists

    training: Mapping[str, Any] = trained.training or {}
    version = str(trained.specialist)
    measure: Literal["accuracy", "agreement"] = (
        "agreement" if training.get("labels_from") == "reference" else "accuracy"
    )
    folder = specialists.version_folder(context.settings.blobs, task, version)
    if not folder.is_dir():
        return KeptAside(measure, version=version)
    kept = specialists.kept(folder)
    # The rows are a random part of what was learned from. When those of a file were asked, whoever made it knows.
    frame = {"source": "kept aside at training", "rows": len(kept.certify), "window": training.get("window")}
    disputed: tuple[bytes, ...] = ()
    if measure == "agreement":
        revisions = training.get("revisions", [])
        disputed = tuple(bytes.fromhex(one) for one in training.get("disputed", []))
        if len(revisions) != 1 or len(disputed) > MOST_DISPUTED:
            return KeptAside(measure, version=version, kept=kept)
        frame |= {"reference": training["reference"], "revision": revisions[0], "disputed": len(disputed)}
    used = certificates.used(session, tenant_id, task, [row.text_sha256 for row in kept.certify])
    rows = tuple(row for row in kept.certify if row.text_sha256 not in used)
    return KeptAside(measure, rows, disputed, frame, version, kept)
