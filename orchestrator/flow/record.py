"""Record: outcomes become rows, in groups, each group ONE transaction with state, attempt, result, ledger and reservation.

What happens is driven by the jobs that still belong to their dispatch: a late worker's write changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from orchestrator.contracts import ClaimedJob, Fault, Fence, JobState, Outcome, OutcomeKind, Usage
from orchestrator.crashpoints import reached
from orchestrator.errors import InvalidConfig
from orchestrator.flow import notify
from orchestrator.flow.context import Context
from orchestrator.flow.notify import is_told
from orchestrator.flow.review import noted
from orchestrator.lifecycle import after, is_terminal, retry_delay_s
from orchestrator.pricing import ZERO, RateCard, card_on, price
from orchestrator.store import batches, budgets, dispatches, prices, recording
from orchestrator.store.batches import Tally
from orchestrator.store.budgets import Payer, Settlement
from orchestrator.store.recording import Metered, Move, Next

NOTHING: Final = Usage()

Pair = tuple[ClaimedJob, Outcome]


@dataclass(slots=True)
class Recorder:
    """Records outcomes; keeps the rate cards it has seen. A worker with models priced by the hour names itself and them."""

    context: Context
    metered: Metered | None = None
    _cards: dict[tuple[int, str], RateCard] = field(default_factory=dict)

    def record(self, pairs: Sequence[Pair], done: Sequence[int]) -> dict[Fence, Decimal]:
        """Record a group of outcomes and end the dispatches in `done`; returns fence -> charge of the jobs that took them.

        A group that fails for another reason than a database that is away is recorded one by one, so that one bad outcome
        cannot hold up its neighbours. Raises ServiceUnavailable when the database does not answer: call again.
        """
        try:
            return self._record(pairs, done)
        except (SQLAlchemyError, ArithmeticError, ValueError):
            if len(pairs) <= 1:
                return self._record([self._unrecordable(pair) for pair in pairs], done)
        taken: dict[Fence, Decimal] = {}
        for pair in pairs:
            taken |= self.record([pair], [])
        if done:
            self._record([], done)
        return taken

    def _record(self, pairs: Sequence[Pair], done: Sequence[int]) -> dict[Fence, Decimal]:
        moves = [self._move(job, outcome) for job, outcome in pairs]
        with self.context.database.unit_of_work() as session:
            taken = _write(session, moves, done, self.metered)
            reached("record.before_commit")
        reached("record.after_commit")
        return taken

    def record_losses(self, session: Session, lost: Sequence[tuple[ClaimedJob, JobState]], fault: Fault) -> None:
        """Count, within the caller's transaction, the loss of jobs that ran alone: each goes to its state.

        All of a transaction at once, since budgets are locked in one order, and last.
        """
        moves = [
            Move(
                job,
                self._marked(job, Outcome(OutcomeKind.FAILED if state is JobState.FAILED else OutcomeKind.RETRY, fault=fault)),
                state, delay_s=0.0, cost_usd=ZERO, charge_usd=ZERO,
            )
            for job, state in lost
        ]  # fmt: skip
        if moves:
            _write(session, moves, [])

    def _move(self, job: ClaimedJob, outcome: Outcome) -> Move:
        limits = self.context.limits
        then = self._next(job) if outcome.kind is OutcomeKind.REJECTED else None
        if outcome.kind is OutcomeKind.REJECTED and then is None:
            outcome = replace(outcome, kind=OutcomeKind.FAILED)
        state = after(outcome.kind, job.turn, limits)
        delay_s = 0.0
        if state is JobState.WAITING:
            asked = outcome.fault.retry_after_s if outcome.fault else None
            delay_s = retry_delay_s(job.turn, limits, random.random(), asked)  # noqa: S311 - jitter, not a secret
        amount = price(outcome.usage, self._card(job)) if outcome.usage != NOTHING or outcome.body is not None else ZERO
        # Nobody is charged more than was held for it: what a model takes beyond the most that was told is ours.
        most = amount if job.worst_usd is None else min(amount, job.worst_usd)
        charge = most if (state is JobState.SUCCEEDED or then) and not job.unbilled else ZERO
        blob_key = self._blob(job, outcome, state)
        fields = (
            noted(outcome.body)
            if state is JobState.SUCCEEDED and job.task and not (job.is_piece or job.unbilled)
            else None
        )
        return Move(job, self._marked(job, outcome), state, delay_s, amount, charge, blob_key, then, fields)

    def _next(self, job: ClaimedJob) -> Next | None:
        """What takes over from a job's model: the first of its cascade that this fleet has; None where there is none left."""
        known = self.context.config.fleet.by_name
        for place, name in enumerate(job.cascade):
            if (model := known.get(name)) is not None:
                return Next(model.tier, model.name, job.cascade[place + 1 :])
        return None

    def follows(self, job: ClaimedJob, outcome: Outcome) -> bool:
        """Whether something follows an outcome of a job, so that its caller has no answer yet."""
        if outcome.kind is OutcomeKind.REJECTED:
            return self._next(job) is not None
        return not is_terminal(after(outcome.kind, job.turn, self.context.limits))

    def _marked(self, job: ClaimedJob, outcome: Outcome) -> Outcome:
        """The outcome, marked as simulated where its model is: without an answer no engine has said so."""
        model = self.context.config.fleet.by_name.get(job.model)
        is_simulated = model is not None and model.engine == "simulated"
        return replace(outcome, simulated=True) if is_simulated and not outcome.simulated else outcome

    def _blob(self, job: ClaimedJob, outcome: Outcome, state: JobState) -> str | None:
        """Put a large result into the blob store; the row then holds its key."""
        body = outcome.body
        if body is None or state is not JobState.SUCCEEDED or len(body) <= self.context.settings.inline_body_bytes:
            return None
        key = f"results/{job.public_id[:8]}/{job.public_id}-{job.dispatch_id}"
        self.context.blobs.put(key, body)
        return key

    def _card(self, job: ClaimedJob) -> RateCard:
        """The rate card that was frozen on the job when it was submitted."""
        key = (job.price_version, job.model)
        card = self._cards.get(key)
        if card is None:
            with self.context.database.unit_of_work() as session:
                cards = prices.cards(session, job.price_version, job.model)
            if not cards:
                raise InvalidConfig(f"Price version {job.price_version} has no model {job.model!r}.")
            card = self._cards[key] = card_on(cards, job.stored_on, job.model)
        return card

    @staticmethod
    def _unrecordable(pair: Pair) -> Pair:
        """The outcome of a job whose own outcome cannot be stored: a failure that says so."""
        job, outcome = pair
        fault = Fault(
            "unrecordable", "The model's answer could not be stored. It may hold characters that no text may hold."
        )
        # Its model's revision is left out: that, too, came from a server.
        return job, Outcome(OutcomeKind.FAILED, fault=fault, simulated=outcome.simulated)


def _write(
    session: Session, moves: Sequence[Move], done: Sequence[int], metered: Metered | None = None
) -> dict[Fence, Decimal]:
    """The one transaction of a group; the budget comes last, since its row is shared."""
    taken = recording.move(session, moves, metered) if moves else {}
    won = [move for move in moves if move.job.fence in taken]
    recording.write(session, won, taken)
    batches.add_progress(session, _tallies(won))
    if done:
        dispatches.end(session, done, "done")
    told = [(move.job.owner, move.job.public_id, move.state) for move in won if is_told(move.job, move.state)]
    notify.jobs_ended(session, told)
    budgets.settle(session, _settlements(won))
    return {move.job.fence: move.charge_usd for move in won}


def _tallies(won: Sequence[Move]) -> list[Tally]:
    """What ended in this group, by batch, tier, model and state."""
    sums: dict[tuple[int, str, str, JobState], list[object]] = {}
    for move in won:
        job, usage = move.job, move.outcome.usage
        if not job.batch_id or not (is_terminal(move.state) or move.then):
            continue
        # What was charged for an answer that was not accepted counts where it was given; the job itself ends elsewhere.
        state = JobState.SUCCEEDED if move.then else move.state
        total = sums.setdefault((job.batch_id, job.tier, job.model, state), [0, ZERO, 0, 0, 0, 0])
        billed = usage if state is JobState.SUCCEEDED else NOTHING
        added = (
            0 if move.then or job.is_piece else 1, move.charge_usd, billed.input_tokens, billed.cached_tokens, billed.output_tokens, billed.reasoning_tokens,
        )  # fmt: skip
        sums[job.batch_id, job.tier, job.model, state] = [a + b for a, b in zip(total, added, strict=True)]  # type: ignore[operator]
    return [Tally(*key, *total) for key, total in sums.items()]  # type: ignore[arg-type]


def _settlements(won: Sequence[Move]) -> dict[Payer, Settlement]:
    """What this group gives back of each payer's hold, and what it charges."""
    sums: dict[Payer, tuple[Decimal, Decimal]] = {}
    for move in won:
        if is_terminal(move.state) or move.then:
            payer = (move.job.owner, move.job.batch_id)
            released, spent = sums.get(payer, (ZERO, ZERO))
            sums[payer] = (released + move.released_usd, spent + move.charge_usd)
    return {payer: Settlement(*both) for payer, both in sums.items()}
