"""The past of a task as rows to learn from: each text with what its reference answered, or with the label that a person gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Row

from orchestrator import ids
from orchestrator.errors import InvalidRequest
from orchestrator.flow.context import Context
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.evidence.answers import answer_of, asked_text
from orchestrator.rightsizing.evidence.bodies import body_of
from orchestrator.rightsizing.evidence.kept_aside import MOST_DISPUTED
from orchestrator.rightsizing.training.export import Example, Source
from orchestrator.store.rightsizing import answered

DAYS: Final = 90
MOST_ROWS: Final = 200_000
PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Past:
    """One answered job."""

    row: Row[Any]
    request: bytes
    answer: bytes

    @property
    def text(self) -> str:
        """What was asked about."""
        return asked_text(self.request)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat without its answer."""
        found: list[dict[str, Any]] = orjson.loads(self.request).get("messages") or []
        return found

    @property
    def label(self) -> str:
        """The right answer as far as is known: what a person said, else what was answered."""
        return str(self.row.label or answer_of(self.answer) or "").strip()

    @property
    def is_refuted(self) -> bool:
        """Whether a caller said that the answer is wrong, and nobody what the right one is."""
        return self.row.good is False and not self.row.label and not self.row.is_corrected

    @property
    def source(self) -> Source:
        """Who says that the answer is right."""
        if self.row.label:
            return "feedback" if self.row.label_source == "feedback" else "label"
        if self.row.is_corrected:
            return "review"
        return "feedback" if self.row.good else "reference"


@dataclass(frozen=True, slots=True)
class History:
    """What a reference answered, to learn from."""

    texts: list[str]
    labels: list[str]
    reference: str
    revisions: tuple[str, ...]
    """Which revisions of it answered: of several, the rows are no sample of what any one of them says."""
    disputed: tuple[str, ...]
    """Hashes of the texts to which its answer was corrected or refuted."""
    window: tuple[datetime, datetime]
    """When the first and the last of it were asked."""

    @property
    def told(self) -> dict[str, Any]:
        """What a training record says of it."""
        return {
            "reference": self.reference, "revisions": list(self.revisions), "disputed": list(self.disputed[: MOST_DISPUTED + 1]),
            "window": [one.isoformat() for one in self.window],
        }  # fmt: skip


def rows(context: Context, tenant_id: int, task: str, *, model: str | None = None, days: int = DAYS) -> Iterator[Past]:
    """Answered jobs of a task, the newest `MOST_ROWS` of them, oldest first; those whose bodies are gone are left out."""
    since = datetime.now(UTC) - timedelta(days=days)
    with context.database.unit_of_work() as session:
        after = answered.first_id(session, tenant_id, task, since, model=model, most=MOST_ROWS)
    while True:
        with context.database.unit_of_work() as session:
            found = answered.page(session, tenant_id, task, since, after=after, model=model, limit=PAGE)
        if not found:
            return
        after = found[-1].id
        for row in found:
            request = body_of(context, row.request, row.request_key)
            answer = body_of(context, row.answer, row.answer_key)
            if request is not None and answer is not None:
                yield Past(row, request, answer)


def examples(context: Context, tenant_id: int, task: str, *, since: datetime | None = None) -> Iterator[Example]:
    """What was answered, as chats that a language model can be trained on, each with who says that the answer is right."""
    days = DAYS if since is None else max(1, (datetime.now(UTC) - since).days + 1)
    for one in rows(context, tenant_id, task, days=days):
        if (since is not None and one.row.created_at < since) or not one.label or one.is_refuted:
            continue
        yield Example(
            messages=one.messages, answer=one.label, source=one.source, task_version=one.row.task_version or 1,
            job_id=ids.public("job", one.row.public_id), model=None if one.row.label else one.row.model,
            revision=None if one.row.label else one.row.model_revision, simulated=bool(one.row.simulated) and not one.row.label,
            answered_on=one.row.created_at.date(), group=one.row.document_hash.hex() if one.row.document_hash else None,
        )  # fmt: skip


def history(context: Context, tenant_id: int, task: str, reference: str, *, days: int = DAYS) -> History:
    """Texts and labels of what a task's reference answered; raises InvalidRequest where there are none.

    What people corrected is learned as they corrected it, and what a caller refuted is left out: both are told as disputed.
    """
    texts, labels, revisions, disputed, asked = [], [], set(), [], []
    for one in rows(context, tenant_id, task, model=reference, days=days):
        answer = (answer_of(one.answer) or "").strip()
        if not one.text.strip() or not answer:
            continue
        if one.is_refuted or one.row.is_corrected:
            disputed.append(text_sha256(one.text).hex())
        if not one.is_refuted:
            texts.append(one.text)
            labels.append(answer)
            revisions.add(one.row.model_revision or "")
            asked.append(one.row.created_at)
    if not texts:
        raise InvalidRequest(
            f"{reference} has answered nothing of task {task} in the last {days} days. Submit work with `--task {task}`, or train on labels: "
            f"rightsize train {task} --labels FILE.csv"
        )
    return History(
        texts, labels, reference, tuple(sorted(revisions)), tuple(dict.fromkeys(disputed)), (min(asked), max(asked))
    )
