"""Judge: a model of the `rlm` tier compares the specialist's answers with the reference's, in both orders, for us and not for the caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import JobState, Tier
from orchestrator.errors import InvalidRequest, ServiceUnavailable
from orchestrator.fleet import Model
from orchestrator.flow.context import Context
from orchestrator.rightsizing.evidence import verdicts
from orchestrator.rightsizing.evidence.answers import agrees, answer_of, asked_text, instructions_of
from orchestrator.rightsizing.evidence.bodies import GONE, body_of
from orchestrator.rightsizing.evidence.verdicts import Comparison, Corrected, Judgement
from orchestrator.store.rightsizing import house_jobs, judging, stages
from orchestrator.store.rightsizing.house_jobs import HouseJob
from orchestrator.store.rightsizing.judging import Pairs

WITHIN_S: Final = 1_800.0
LOOK_S: Final = 0.5
MOST: Final = 2_000
RULE: Final = "judge"
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Question:
    """The two questions about one pair of answers."""

    row: Row[Any]
    first: int
    """The job in which the specialist's answer stands first."""
    second: int


def run(context: Context, tenant_id: int, task: str, n: int, tell: Tell) -> dict[str, Any]:
    """Let pairs of answers be judged, and store each verdict as it comes; gives what they come to, corrected by labels.

    Raises InvalidRequest where there is nothing to compare or nobody to judge, ServiceUnavailable where not all is answered in time:
    what was answered is stored by then.
    """
    model = _judge(context)
    with context.database.unit_of_work() as session:
        pairs = _pairs(session, tenant_id, task)
        there = judging.population(session, tenant_id, pairs)
        rows = judging.draw(session, tenant_id, pairs, min(n, MOST))
        if not rows:
            raise InvalidRequest(
                f"There are no pairs of answers to judge for task {task}. Let some be made: rightsize promote {task} --to shadow",
                param="task",
            )
    chats = [_chats(context, row) for row in rows]
    with context.database.unit_of_work() as session:
        made = [_ask(context, session, row, pair, model) for row, pair in zip(rows, chats, strict=True)]
    asked = [one for one in made if one is not None]
    context.broker.wake()
    store = partial(judging.put, tenant_id=tenant_id, task=task, probability=len(rows) / there, given_by=model.name)
    found = _verdicts(context, asked, store, tell)
    with context.database.unit_of_work() as session:
        judged = judging.judged(session, tenant_id, pairs)
    quality = corrected(context, judged)
    counted = verdicts.counted(found)
    return {
        "task": task,
        "simulated": model.engine == "simulated",
        "judge": model.name,
        "of": pairs.kind,
        **counted.as_dict(),
        "corrected": quality.as_dict() if quality else None,
    }


def _pairs(session: Session, tenant_id: int, task: str) -> Pairs:
    """Those of the version that is promoted: what it answered alone, where it does, and else what it says beside the reference."""
    stage = stages.of_task(session, tenant_id, task)
    if stage is None:
        return Pairs(task, "", "shadow")
    return Pairs(task, stage.specialist, "audit" if stage.stage in ("canary", "full") else "shadow")


def _judge(context: Context) -> Model:
    models = context.config.fleet.of_tier(Tier.RLM)
    if not models:
        raise InvalidRequest("The fleet has no model of the tier rlm that could judge. Add one to rightsize.toml.")
    return models[0]


def _chats(context: Context, row: Row[Any]) -> verdicts.Asked:
    ours, theirs = _both(context, row)
    request = body_of(context, row.request, row.request_key) or GONE
    return verdicts.asked(Comparison(instructions_of(request), asked_text(request), ours or "", theirs or ""))


def _ask(context: Context, session: Session, row: Row[Any], chats: verdicts.Asked, model: Model) -> Question | None:
    """Both questions about a pair; None where its document was forgotten meanwhile."""
    first, second = (
        house_jobs.put(
            session,
            HouseJob(row.job_id, ids.uuid7(), orjson.dumps(chat), model.tier, model.name, RULE, "It compares two answers.", WITHIN_S),
            context.versions,
        )
        for chat in (chats.ours_first, chats.ours_second)
    )  # fmt: skip
    return None if first is None or second is None else Question(row, first, second)


def _both(context: Context, row: Row[Any]) -> tuple[str | None, str | None]:
    """The specialist's answer, and the reference's."""
    first = answer_of(body_of(context, row.answer, row.answer_key) or GONE)
    second = answer_of(body_of(context, row.other, row.other_key) or GONE)
    return (second, first) if row.kind == "shadow" else (first, second)


def _verdicts(context: Context, asked: Sequence[Question], store: Callable[..., None], tell: Tell) -> list[Judgement]:
    """Wait for both verdicts of every question; those of a pair are stored once both are there."""
    until, waiting, found = time.monotonic() + WITHIN_S, list(asked), list[Judgement]()
    while waiting:
        with context.database.unit_of_work() as session:
            rows = judging.verdicts(session, [job for one in waiting for job in (one.first, one.second)])
        ended = {job for job, row in rows.items() if row.state >= JobState.SUCCEEDED}
        ready = [one for one in waiting if {one.first, one.second} <= ended]
        said = [
            verdicts.judgement(_verdict(context, rows[one.first]), _verdict(context, rows[one.second])) for one in ready
        ]
        if ready:
            pairs = zip(ready, said, strict=True)
            with context.database.unit_of_work() as session:
                store(session, found=[(one.row.job_id, bytes(one.row.text_hash), own.good) for one, own in pairs])
        found += said
        waiting = [one for one in waiting if not {one.first, one.second} <= ended]
        tell(2 * (len(asked) - len(waiting)), 2 * len(asked))
        if waiting and time.monotonic() > until:
            raise ServiceUnavailable(
                f"The judge has compared {len(found)} of {len(asked)} pairs in {WITHIN_S:g} s, and these are stored. Start a worker for rlm, "
                "and give the command again for others."
            )
        if waiting:
            time.sleep(LOOK_S)
    return found


def _verdict(context: Context, row: Row[Any]) -> verdicts.Verdict | None:
    if row.state != JobState.SUCCEEDED:
        return None
    return verdicts.verdict_in(answer_of(body_of(context, row.body, row.blob_key) or GONE) or "")


def corrected(context: Context, rows: Sequence[Row[Any]]) -> Corrected | None:
    """The quality of a specialist's answers as a judge sees it, as far as labels show that the judge can be trusted; None without verdicts."""
    if not rows:
        return None
    said = [Judgement("tie" if row.good else "reference") for row in rows]
    known = [
        (one, agrees(_both(context, row)[0], row.label))
        for one, row in zip(said, rows, strict=True)
        if row.label is not None
    ]
    return verdicts.corrected(verdicts.calibration(known), sum(one.good for one in said), len(said))
