"""A row that is a document: asked as its task says, or answered already by what was paid for before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from orchestrator import ids
from orchestrator.contracts import JobState, Owner, Tier
from orchestrator.eligibility import Situation, excluded
from orchestrator.errors import InvalidRequest, NotFound, TierUnavailable
from orchestrator.fleet import Fleet
from orchestrator.flow.context import Context
from orchestrator.flow.prepare import About, prepare
from orchestrator.flow.tasks import Version
from orchestrator.hints import BOUNDED, Hints, hints_from, merged
from orchestrator.pricing import ZERO, RateCard, usd
from orchestrator.requests import CHAT
from orchestrator.store import reuse
from orchestrator.store.jobs import NewJob
from orchestrator.store.reuse import Reused
from orchestrator.tasks import prompt
from orchestrator.tasks.choices import choices, sums
from orchestrator.tasks.definition import Task
from orchestrator.tasks.document import Block, Document, document_from
from orchestrator.tasks.measure import SURE, size_of
from orchestrator.tasks.splitting import MOST_PIECES, pieces_of
from orchestrator.tasks.text import laid_out, text_of
from orchestrator.tasks.verdict import Held

FIELD: Final = "document"
"""The field of a row's body that makes it one of these."""
KNOWN: Final = frozenset({"model", "rightsize", FIELD})
LEAST_ROOM: Final = 500
"""Of a piece, however long the instructions are."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row's place in its batch."""

    public_id: str
    row_number: int
    custom_id: str


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch does with its documents."""

    owner: Owner
    version: Version
    hints: Hints
    refresh: bool
    """Whether nothing is taken from what was paid for before."""


def is_document(body: object) -> bool:
    """Whether a row's body is a document for a task."""
    return isinstance(body, Mapping) and FIELD in body


def prepare_document(context: Context, work: Work, body: Mapping[str, Any], now: Situation, row: Row) -> list[NewJob]:
    """The job of a document, and behind it those of its pieces where it is too long for one.

    Raises InvalidRequest, UnknownModel or TierUnavailable with the remedy.
    """
    document, model, hints = _checked(work, body)
    key = reuse_key(document.hash, work.version.digest, model, hints, now.fleet)
    if (found := _answered(context, work, key, row.public_id)) is not None:
        return [_reused(document, work, row, key, found)]
    if document.pages is None:
        raise InvalidRequest(
            "The document was not read, and its result is not there any more. Submit it again.", param=FIELD
        )
    asking = Asking(context, work, document, model, hints, now, row, key)
    pieces = _pieces(work.version.task, document, model, hints, now)
    return [_whole(asking)] if pieces is None else _in_pieces(asking, *pieces)


def requests_of(work: Work, body: Mapping[str, Any], now: Situation) -> list[tuple[dict[str, Any], Hints]]:
    """The requests in which a row's document would be asked, each with its hints; none for one that was not read, since its result is there.

    What makes one answer of a tree's is not among them. Raises InvalidRequest as `prepare_document`.
    """
    document, model, hints = _checked(work, body)
    task = work.version.task
    if document.pages is None:
        return []
    pieces = _pieces(task, document, model, hints, now)
    if pieces is None:
        text, _ = text_of(document)
        bodies = [prompt.body_for(task, text, [url for _, url in document.pictures], document.sounds)]
    else:
        bodies = [prompt.body_for(task, laid_out(blocks, marked=True)[0]) for blocks in pieces[0]]
    return [({**one, "model": model}, hints) for one in bodies]


def _checked(work: Work, body: Mapping[str, Any]) -> tuple[Document, str, Hints]:
    """The document of a row, the model that it names, and what holds for it."""
    if unknown := body.keys() - KNOWN:
        raise InvalidRequest(
            f"A document's row has unknown fields {sorted(unknown)[:5]}. Known: {sorted(KNOWN)}.", param=min(unknown)
        )
    document = document_from(body[FIELD])
    if document.pages is not None:
        _check(work.version.task, document)
    model = body.get("model") or "auto"
    return document, model, within(work.version, merged(hints_from(body.get("rightsize")), work.hints), model)


def _pieces(
    task: Task, document: Document, model: str, hints: Hints, now: Situation
) -> tuple[list[list[Block]], int] | None:  # fmt: skip
    """The blocks of each piece, and how many characters one may have; None for a document that fits into one request."""
    if document.pictures or document.sounds:  # then its text does not count
        return None
    room = room_for(task, hints, now.fleet, model)
    if room is None or document.size <= room:
        return None
    pieces = pieces_of(document.blocks, room, SURE * task.splitting.overlap_tokens)
    if len(pieces) > MOST_PIECES:
        raise InvalidRequest(
            f"It would be {len(pieces):,} pieces, at most {MOST_PIECES:,} are asked. Split it, or let the task take longer ones.",
            param=FIELD,
        )
    return pieces, room


@dataclass(frozen=True, slots=True)
class Asking:
    """A document that is about to be asked, and all that concerns it."""

    context: Context
    work: Work
    document: Document
    model: str
    hints: Hints
    now: Situation
    row: Row
    key: bytes

    @property
    def told(self) -> dict[str, Any]:
        """What a result says of the document, with how its pages are read and what that costs."""
        text, eyes = (_card(self.now, tier) for tier in (self.now.policy.default_tier, Tier.MLLM))
        chosen = choices(self.document, text, eyes)
        return {**self.document.told(), "choices": chosen, **sums(chosen)} if chosen else self.document.told()

    @property
    def task(self) -> Task:
        """The task, with its parameters in their places."""
        return self.work.version.task

    def job(self, body: Mapping[str, Any], held: Held, public_id: str, custom_id: str | None) -> NewJob:
        """A job of it: the whole, or a piece."""
        made = prepare(
            self.context, CHAT, {**body, "model": self.model}, self.hints, self.now, public_id=public_id,
            row_number=self.row.row_number, custom_id=custom_id, about=About(self.told, held.to_json()),
        )  # fmt: skip
        return replace(made, document_hash=bytes.fromhex(self.document.hash), task_version=self.work.version.version)


def _card(now: Situation, tier: Tier) -> RateCard | None:
    """The prices of the model that serves a tier unless another is named."""
    model = next((one for one in now.fleet.of_tier(tier) if now.fleet.is_default(one)), None)
    return model.card_on(now.day) if model is not None else None


def _check(task: Task, document: Document) -> None:
    """Refuse a document that the task does not take."""
    pages = len(document.pages or ())
    if task.inputs and document.kind not in task.inputs:
        raise InvalidRequest(
            f"The task {task.name} takes {', '.join(task.inputs)}, and this is {document.kind}.", param=FIELD
        )
    if task.limits.max_pages is not None and pages > task.limits.max_pages:
        raise InvalidRequest(
            f"It has {pages} pages, and the task {task.name} takes {task.limits.max_pages}.", param=FIELD
        )


def _whole(asking: Asking) -> NewJob:
    """The job of a document that is asked whole."""
    task, document = asking.task, asking.document
    text, places = text_of(document)
    body = prompt.body_for(task, text, [url for _, url in document.pictures], document.sounds)
    return replace(
        asking.job(body, Held.of(task, document, places), asking.row.public_id, asking.row.custom_id),
        reuse_key=asking.key,
    )


def room_for(task: Task, hints: Hints, fleet: Fleet, model: str) -> int | None:
    """How large a text of a document one request may hold (`measure.size_of`); None where no model is told of.

    The largest model that may answer counts: a document is not parted because a smaller one would be enough for a shorter one.
    """
    tiers = (
        [hints.tier]
        if hints.tier is not None
        else list(hints.cascade) or [tier for tier in BOUNDED if not excluded(hints, tier)]
    )
    named = [fleet.named(model)] if model not in ("auto", *Tier) else []
    models = named or [one for tier in tiers for one in fleet.of_tier(tier) if one.engine != "specialist"]
    tokens = max((one.max_input_tokens for one in models), default=0)
    if task.splitting.max_tokens is not None:
        tokens = min(tokens or task.splitting.max_tokens, task.splitting.max_tokens)
    spent = sum(size_of(str(message["content"])) for message in prompt.body_for(task, "")["messages"])
    return max(tokens * SURE - spent, LEAST_ROOM) if tokens else None


def _in_pieces(asking: Asking, pieces: Sequence[list[Block]], room: int) -> list[NewJob]:
    """The job of a document that waits for its pieces, and theirs; each piece is found again by itself."""
    task, document = asking.task, asking.document
    marked = len({block.page for block in document.blocks}) > 1
    jobs = []
    for number, (blocks, public_id) in enumerate(zip(pieces, ids.uuid7s(len(pieces)), strict=True)):
        text, places = laid_out(blocks, marked=marked)
        key = piece_key(asking.key, text)
        job = _piece_again(asking, key, public_id) or asking.job(
            prompt.body_for(task, text), Held.of(task, document, places), public_id, None
        )
        jobs.append(
            replace(job, reuse_key=key, parent=asking.row.public_id, level=1, prefix_hash=job.prefix_hash + number % 2)
        )
    _check_cost(asking, jobs)
    first = jobs[0]
    told = f"It is asked in {len(pieces)} pieces of at most {room:,} characters, whose answers become one by the rule {task.splitting.reduce}."
    whole = NewJob(
        public_id=asking.row.public_id, row_number=asking.row.row_number, custom_id=asking.row.custom_id, state=JobState.GATHERING,
        tier=first.tier, model=first.model, endpoint=CHAT, rule=first.rule, task=task.name, prefix_hash=first.prefix_hash, held_usd=ZERO,
        worst_usd=ZERO, reasons=told, features=orjson.dumps({"document": asking.told}).decode(), body=None,
        document_hash=bytes.fromhex(document.hash), reuse_key=asking.key, task_version=asking.work.version.version, pieces=len(pieces), level=1,
    )  # fmt: skip
    return [whole, *jobs]


def _check_cost(asking: Asking, pieces: Sequence[NewJob]) -> None:
    """Refuse a document all of whose pieces, and what makes one answer of them, could cost more than one document may."""
    bound = asking.hints.max_cost_usd
    if bound is None:
        return
    most = sum((job.worst_usd for job in pieces), start=ZERO)
    if asking.task.splitting.reduce == "tree":
        most += max(job.worst_usd for job in pieces)
    if most > bound:
        raise TierUnavailable(
            f"Its {len(pieces)} pieces could cost {usd(most)}, over the bound of {usd(bound)} for one document. Raise the bound, let the task "
            "take longer pieces, or ask for shorter answers (limits.max_output_tokens).",
            param="max_cost_usd",
        )


def _piece_again(asking: Asking, key: bytes, public_id: str) -> NewJob | None:
    """A piece that was answered before, with a document that was not done otherwise."""
    found = _answered(asking.context, asking.work, key, public_id)
    if found is None:
        return None
    return _reused(asking.document, asking.work, replace(asking.row, public_id=public_id, custom_id=""), key, found)


def _answered(context: Context, work: Work, key: bytes, public_id: str) -> Reused | None:
    """The result that is there, unless everything is to be asked anew."""
    return None if work.refresh else taken_over(context, work.owner.tenant_id, key, public_id)


def taken_over(context: Context, tenant_id: int, key: bytes, public_id: str) -> Reused | None:
    """A key's result as the job `public_id` may have it, with a blob of its own; None where there is no result."""
    found = reuse.find(context.database, tenant_id, key)
    if found is None or found.blob_key is None:
        return found
    # Each result goes with its own retention.
    own = f"results/{public_id[:8]}/{public_id}-reused"
    try:
        context.blobs.put(own, context.blobs.get(found.blob_key))
    except NotFound:
        return None
    return replace(found, blob_key=own)


def _reused(document: Document, work: Work, row: Row, key: bytes, found: Reused) -> NewJob:
    """A job that ended before it began: with the result of another, and no charge."""
    about = {
        **(orjson.loads(found.features).get("document") or {}),
        "name": document.name,
        "hash": document.hash,
        "bytes": document.bytes,
    }
    return NewJob(
        public_id=row.public_id, row_number=row.row_number, custom_id=row.custom_id or None, state=JobState.SUCCEEDED, tier=found.tier,
        model=found.model, endpoint=CHAT, rule="reused", task=work.version.task.name, prefix_hash=0, held_usd=ZERO, worst_usd=ZERO,
        reasons=told_of(found), features=orjson.dumps({"document": about}).decode(), body=None,
        document_hash=bytes.fromhex(document.hash), reuse_key=key, task_version=work.version.version, reused=found,
    )  # fmt: skip


def told_of(found: Reused) -> str:
    """Why a job was not asked, for people."""
    return f"The same document was answered before, by {ids.public('job', found.public_id)}: its result is taken, and nothing is charged."


def within(version: Version, hints: Hints, model: str = "auto") -> Hints:
    """The hints of a row with what its task says: its stakes, the tiers that it may be answered on, the cap on one document."""
    task = version.task
    if task.tiers and hints.tier is not None and hints.tier not in task.tiers:
        raise InvalidRequest(
            f"The task {task.name} may be answered on {', '.join(task.tiers)}, not on {hints.tier}.", param="tier"
        )
    if task.tiers and (beyond := [tier for tier in hints.cascade if tier not in task.tiers]):
        raise InvalidRequest(
            f"The task {task.name} may be answered on {', '.join(task.tiers)}, not on {', '.join(beyond)}.",
            param="cascade",
        )
    bounded = [tier for tier in BOUNDED if tier in task.tiers]
    cap = hints_from({"max_cost_usd": task.limits.max_cost_usd}).max_cost_usd
    return replace(
        hints,
        task=task.name,
        stakes=hints.stakes or task.stakes,
        tier=hints.tier or (Tier.MLLM if task.tiers == (Tier.MLLM,) else None),
        min_tier=hints.min_tier or (bounded[0] if bounded else None),
        max_tier=hints.max_tier or (bounded[-1] if bounded else None),
        max_cost_usd=hints.max_cost_usd if hints.max_cost_usd is not None else cap,
        # An explicit choice of tier or model is the caller's last word, but for what the caller says itself.
        escalate=task.escalate and not hints.cascade and hints.tier is None and model == "auto"
        if hints.escalate is None
        else hints.escalate,
    )


def reuse_key(document_hash: str, digest: str, model: str, hints: Hints, fleet: Fleet) -> bytes:
    """What a result is found again by: the document, the task's version, what was said of the route, and the engine's parameters.

    Where tiers of a fleet are simulated, what they say is found again only while they are: nobody takes it for an answer later.
    """
    simulated = sorted({one.tier for one in fleet.models if one.engine == "simulated"})
    said = [
        simulated,
        document_hash, digest, model, hints.tier, list(hints.cascade), hints.min_tier, hints.max_tier, hints.stakes, hints.adapter,
        hints.samples, hints.vote, hints.thinking_tokens, hints.instructions,
    ]  # fmt: skip
    return hashlib.sha256(orjson.dumps(said)).digest()


def piece_key(key: bytes, text: str) -> bytes:
    """The same of a piece of a document: by its own text, wherever it was parted."""
    return hashlib.sha256(key + b"piece" + text.encode("utf-8", "replace")).digest()
