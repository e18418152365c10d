"""Tree: the summaries of a long document's parts are summarised in their turn, level by level, until they fit into one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import Owner, Tier
from orchestrator.errors import InvalidRequest
from orchestrator.flow import tasks
from orchestrator.flow.coalesce import coalesced
from orchestrator.flow.context import Context
from orchestrator.flow.documents import piece_key, room_for, within
from orchestrator.flow.prepare import About, prepare
from orchestrator.flow.submit import shared_in
from orchestrator.hints import Hints, hints_from
from orchestrator.pricing import ZERO
from orchestrator.requests import CHAT
from orchestrator.store import batches, jobs, pieces
from orchestrator.store.jobs import Frame, NewJob
from orchestrator.tasks import prompt
from orchestrator.tasks.definition import Task
from orchestrator.tasks.document import Block
from orchestrator.tasks.splitting import pieces_of
from orchestrator.tasks.verdict import Held

MOST_LEVELS: Final = 8
ALL: Final = "The document was too long to be read at once. What follows are the answers to its parts, in order.\n\n"
SOME: Final = (
    "The document was too long to be read at once. What follows are the answers to some of its parts, in order.\n\n"
)


@dataclass(frozen=True, slots=True)
class Asking:
    """A document whose parts have been answered, and how the one answer is asked for."""

    context: Context
    session: Session
    job: Row[Any]
    task: Task
    hints: Hints
    model: str
    """The one that its row named, or auto."""

    def made(self, text: str, public_id: str) -> NewJob:
        """A request about some answers; it is held to the task's form, and to nothing that stands in the document."""
        body = {**prompt.body_for(self.task, text), "model": self.model}
        about = About(orjson.loads(self.job.features).get("document", {}), Held(self.task.checks).to_json())
        now = self.context.situation(self.job.tenant_id)
        return prepare(self.context, CHAT, body, self.hints, now, public_id=public_id, custom_id="", about=about)


def ask_once_more(context: Context, session: Session, job: Row[Any], task: Task, answers: Sequence[str]) -> None:
    """Queue the document itself to have one answer made of those to its parts, or further parts where these are too long together.

    Raises InvalidRequest, or what routing raises, where no model can do that.
    """
    batch = batches.get(session, job.batch_id)
    model = job.model if job.rule == "explicit_model" else "auto"
    given = hints_from(shared_in(batch.hints) or None)
    if job.rule == "explicit_tier":  # its row's own choice, where the batch has none
        given = replace(given, tier=Tier(job.tier), cascade=())
    hints = within(tasks.Version(task, job.task_version, ""), given, model)
    asking = Asking(context, session, job, task, hints, model)
    room = room_for(task, hints, context.situation(job.tenant_id).fleet, model)
    blocks = [Block(number, text, "paragraph", 0, None) for number, text in enumerate(answers, 1)]
    groups = [blocks] if room is None else pieces_of(blocks, room - len(SOME))
    if len(groups) == 1:
        pieces.queue(session, job, asking.made(ALL + _joined(groups[0]), job.public_id.hex))
        return
    if len(groups) >= len(answers) or job.level >= MOST_LEVELS:
        raise InvalidRequest(
            f"the {len(answers):,} answers do not get shorter. Ask for shorter ones: limits.max_output_tokens of the task."
        )
    _next_level(asking, [SOME + _joined(group) for group in groups])


def _joined(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.text for block in blocks)


def _next_level(asking: Asking, texts: Sequence[str]) -> None:
    """Put in a job for each group of answers; the document waits for those next."""
    job, session = asking.job, asking.session
    made = []
    for text, public_id in zip(texts, ids.uuid7s(len(texts)), strict=True):
        key = piece_key(bytes(job.reuse_key), text)
        made.append(
            replace(
                asking.made(text, public_id), custom_id=None, row_number=job.row_number, held_usd=ZERO, reuse_key=key, parent=job.id,
                level=job.level + 1, task_version=job.task_version, document_hash=job.document_hash,
            )
        )  # fmt: skip
    owner = Owner(job.tenant_id, job.project_id, job.api_key_id)
    frame = Frame(owner, job.batch_id, job.deadline, job.fleet_version, job.policy_version, job.price_version)
    jobs.put(session, coalesced(session, owner, made, job.deadline), frame)
    pieces.go_on(session, job, len(made))
