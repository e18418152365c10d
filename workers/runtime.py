"""What a worker process holds: its engines on one asyncio loop, its heartbeat, its recorders, and what runs just now.

A Celery thread claims a dispatch and waits for it; the loop feeds the engine from all dispatches at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Final

from orchestrator import ids
from orchestrator.contracts import ClaimedJob, Outcome, OutcomeKind
from orchestrator.errors import RightsizeError, ServiceUnavailable
from orchestrator.fleet import Model
from orchestrator.flow import claim as claiming
from orchestrator.flow import lease
from orchestrator.flow.claim import Claimed
from orchestrator.flow.context import Context
from orchestrator.store.workers import Presence
from orchestrator.telemetry import log, log_fault
from workers.engines import open_engine
from workers.execute import broken_off, run, unforeseen
from workers.held import Held, Running
from workers.lease import Heartbeat
from workers.line import Line
from workers.meter import Metering
from workers.now import NowReader
from workers.recording import Item, Open, RecordingThread, answer_of
from workers.served import LoadedModel
from workers.streaming import Pieces

MOST_PAUSE_S: Final = 2.0
ENGINE_DEAD: Final = "engine_dead"
DEATHS: Final = 2
"""A job that was alone in an engine when it died fails for good at its second attempt: it is what ends engines."""
CLOSE_S: Final = 30.0
"""How long an engine may take to close: longer than any gives its own process before it kills that."""
STARTED_AT_ONCE: Final = 32
"""Jobs of a dispatch, before the loop may look after others: an interactive one does not wait for a whole group."""


class Runtime:
    """The running part of a worker process. `start` before the first message, `stop` after the last."""

    def __init__(
        self, context: Context, models: Sequence[Model], leave: Callable[[str], None], queues: Sequence[str] = ()
    ) -> None:
        """`leave` ends the process in order, and says why: an engine in it is dead. `queues` of interactive work are read here."""
        self.context = context
        self._leave = leave
        self._watches: list[asyncio.Task[None]] = []
        self._watched: set[asyncio.Task[None]] = set()
        """What runs of interactive dispatches: a loop alone would not hold on to it."""
        self.worker = ids.uuid7()
        self.stopping = threading.Event()
        self._models = models
        self._served: dict[str, LoadedModel] = {}
        self._suspects = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever, name="rightsize-loop", daemon=True)
        self._held = Held(self._loop)
        self._line = Line(context.settings, self._loop, self._cut)
        # Recorders share the pool: on a connection of its own the bulk one makes interactive work wait three times as long.
        self._metering = Metering(context, self.worker, models)
        metered = self._metering.metered
        self._bulk_recorder = RecordingThread(context, "recorder", self._answer, metered)
        self._now_recorder = RecordingThread(context, "recorder-now", self._answer, metered, wakes=False)
        self._apart = context.apart()
        self._heartbeat = Heartbeat(self._apart, self.worker, self._held, self.presence)
        self._now = NowReader(context, self.worker, queues, self.stopping, self._begin, self.run_dispatch)
        self._reads_now = bool(queues)

    def start(self) -> None:
        """Load every engine, then say that this worker is there; raises what an engine says is wrong."""
        self._loop_thread.start()
        self._metering.begin()
        for model in self._models:
            self._served[model.name] = asyncio.run_coroutine_threadsafe(self._serve(model), self._loop).result()
            log("engine_loaded", model=model.name, engine=model.engine)
        self._metering.serve()
        self._bulk_recorder.start()
        self._now_recorder.start()
        self._line.start()
        self._heartbeat.beat_once()
        self._heartbeat.start()
        if self._reads_now:
            self._now.start()
        self.context.broker.wake()

    async def _serve(self, model: Model) -> LoadedModel:
        engine = open_engine(model, self.context.settings.blobs)
        await engine.load()
        served = LoadedModel(model, engine, self._metering.meters.get(model.name))
        self._watches.append(asyncio.create_task(served.keep_full()))
        return served

    def run_dispatch(self, dispatch_id: int) -> None:
        """Claim a dispatch, run its jobs, and return when their outcomes are recorded: that is Celery's backpressure."""
        claimed = self._claim(dispatch_id)
        if claimed == claiming.SUSPECT:
            with self._suspects:
                self._run(dispatch_id, self._claim(dispatch_id, alone=True))
        else:
            self._run(dispatch_id, claimed)

    def _run(self, dispatch_id: int, claimed: Claimed | str | None) -> None:
        if not isinstance(claimed, Claimed):
            return
        turn = asyncio.Semaphore(1) if claimed.claim.one_by_one else None
        running = Running(claimed, Open(dispatch_id, len(claimed.jobs)), time.monotonic(), turn)
        self._held.add([running])
        try:
            asyncio.run_coroutine_threadsafe(self._run_all(running), self._loop).result()
            self._settle(running)
        finally:
            self._held.remove(dispatch_id)

    def _begin(self, claimed: Sequence[Claimed]) -> None:
        """Run interactive dispatches that the reader claimed; nobody waits for them here."""
        runs = []
        for one in claimed:
            dispatch_id = one.claim.dispatch_id
            mine = Open(dispatch_id, len(one.jobs), when_settled=partial(self._end_now, dispatch_id))
            runs.append(Running(one, mine, time.monotonic(), None))
        self._held.add(runs)
        self._loop.call_soon_threadsafe(self._run_now, runs)

    def _run_now(self, runs: Sequence[Running]) -> None:
        for running in runs:
            task = asyncio.create_task(self._run_all(running))
            self._watched.add(task)
            task.add_done_callback(partial(self._ran_now, running))

    def _ran_now(self, running: Running, task: asyncio.Task[None]) -> None:
        """What was not handed to the recorder is given back by a thread that may wait for the database."""
        self._watched.discard(task)
        if running.given_back or running.suspects or running.dropped:
            self._now.aside.submit(self._settle, running)

    def _end_now(self, dispatch_id: int) -> None:
        self._held.remove(dispatch_id)
        self._now.ended()

    def _claim(self, dispatch_id: int, *, alone: bool = False) -> Claimed | str | None:
        """Claim with patience. A worker that stops leaves the message: nobody claims it, and it is sent again."""
        pause_s = 0.1
        while not self.stopping.is_set():
            try:
                return claiming.claim(self.context, dispatch_id, self.worker, alone=alone)
            except ServiceUnavailable as error:
                log("database_away", logging.WARNING, detail=error.message)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
        return None

    async def _run_all(self, running: Running) -> None:
        jobs = running.claimed.jobs
        served = self._served.get(running.claimed.claim.model)
        if served is None:
            running.given_back = list(jobs)
            return
        for place, job in enumerate(jobs, 1):
            running.tasks[job.id] = asyncio.create_task(self._run_one(job, served, running))
            if place % STARTED_AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*list(running.tasks.values()), return_exceptions=True)

    async def _run_one(self, job: ClaimedJob, served: LoadedModel, running: Running) -> None:
        """One job through its turn and its slot to the recorder; a job that an orderly stop interrupts is given back instead."""
        end_turn = pieces = None
        try:
            pieces = self._line.open(job) if job.interactive else None
            self._held.singles.begin(job, pieces)
            if running.turn is not None:
                await running.turn.acquire()
                end_turn = partial(self._loop.call_soon_threadsafe, running.turn.release)
            asked = served.asked(job)
            async with served.gate.passing(interactive=job.interactive, asked=asked):
                outcome = await self._perform(job, served, running.claimed_at, pieces)
            if outcome is not None and outcome.kind is OutcomeKind.SUCCEEDED and not (pieces and pieces.cut):
                served.learn(asked, outcome)
        except asyncio.CancelledError:
            outcome = None
        except Exception as error:
            # Whatever it is: a job without an outcome would hold its dispatch for ever.
            outcome = unforeseen(job, error)
        running.tasks.pop(job.id, None)
        self._held.singles.end(job)
        if pieces is not None:
            await pieces.settled()  # the end, which the recorder sends, comes behind them
        said = pieces is not None and pieces.said and job.id not in running.called_off
        outcome = self._unless_dead(job, outcome, served, running, said=said)
        if said:
            outcome = broken_off(outcome)
        if outcome is None:
            if job.id in running.called_off:
                running.dropped += 1
            elif job not in running.suspects:
                running.given_back.append(job)
            if end_turn is not None:
                end_turn()
            return
        recorder = self._now_recorder if running.claimed.claim.interactive else self._bulk_recorder
        recorder.put(Item(job, outcome, running.open, end_turn))

    def _unless_dead(
        self, job: ClaimedJob, outcome: Outcome | None, served: LoadedModel, running: Running, *, said: bool
    ) -> Outcome | None:
        """What counts of a job that was in an engine when it died: nothing, unless it was there alone. The worker leaves."""
        if outcome is None or outcome.fault is None or outcome.fault.code != ENGINE_DEAD:
            return outcome
        self._leave(f"{served.model.name}: {outcome.fault.message}")
        if said:
            return outcome
        if not running.claimed.claim.one_by_one:
            running.suspects.append(job)
            return None
        return replace(outcome, kind=OutcomeKind.FAILED) if job.attempt >= DEATHS else outcome

    async def _perform(
        self, job: ClaimedJob, served: LoadedModel, claimed_at: float, pieces: Pieces | None
    ) -> Outcome | None:
        """The engine's part, unless the worker began to stop while the job waited for its slot."""
        if self.stopping.is_set():
            return None
        job.seconds_left -= time.monotonic() - claimed_at
        with served.in_engine():
            return await run(job, served.engine, served.model.max_image_pixels, pieces)

    def _settle(self, running: Running) -> None:
        """Give back what an orderly stop left undone, wait until all else is recorded, and let go of what is left then."""
        back, suspects = running.given_back, running.suspects
        mine, unrecorded = running.open, len(back) + len(suspects) + running.dropped
        if back or suspects:
            self._told(lease.give_back, self.context, mine.dispatch_id, back, suspects)
            log("given_back", dispatch=mine.dispatch_id, jobs=len(back), suspects=len(suspects))
        mine.settle(unrecorded)
        mine.settled.wait()
        if unrecorded and not mine.lost:
            self._told(lease.let_go, self.context, mine.dispatch_id, self.worker)

    @staticmethod
    def _told(step: Callable[..., None], *given: object) -> None:
        """Take a step that the end of the lease does as well, where the database is away."""
        try:
            step(*given)
        except ServiceUnavailable as error:
            log("database_away", logging.WARNING, detail=error.message)

    def _answer(self, answers: Sequence[tuple[Item, Decimal]]) -> None:
        """Send interactive answers on their way; the rows have them already."""
        broker = self.context.broker
        later = [item.job.public_id for item, _ in answers if item.job.attempt > 1 and not item.job.reply_to]
        kept = broker.kept_replies(later) if later else {}
        told = []
        for item, charge in answers:
            job = item.job
            # What all models of a cascade cost stands in the row: a reply that says nothing sends its reader there.
            fields = {} if job.earlier_attempts else answer_of(item, charge)
            told.append((job.public_id, job.reply_to or kept.get(job.public_id, ""), fields))
        broker.send_answers(told)

    def presence(self) -> list[Presence]:
        """The models that it serves now; none once it stops."""
        if self.stopping.is_set():
            return []
        return [Presence(s.model.name, s.model.tier, s.gate.bulk_limit, s.latency_s) for s in self._served.values()]

    async def _cut(self, public_id: str) -> None:
        """Stop a job that nobody waits for any more: what it has said is all of its answer, and one that has said nothing is dropped."""
        single = self._held.singles.named(public_id)
        if single is None:
            return
        if single.pieces is not None and single.pieces.said:
            single.pieces.cut = True
            await self._served[single.job.model].engine.abort(public_id)
        else:
            self._held.call_off(single.job.dispatch_id, [single.job.id])

    def begin_stop(self) -> None:
        """Take no more work; what runs may end within the bound of the settings, then it is given back uncounted."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        log("stopping", part="worker", pid=os.getpid())
        bound = threading.Timer(self.context.settings.stop_within_s, self._cut_off)
        bound.daemon = True
        bound.start()
        try:
            lease.leave(self.context, self.worker)
        except RightsizeError as error:
            log("database_away", logging.WARNING, detail=error.message)

    def _cut_off(self) -> None:
        self._bulk_recorder.abandon.set()
        self._now_recorder.abandon.set()
        self._held.interrupt_all()

    def stop(self) -> None:
        """Record what is done, close engines and connections. Called when no dispatch runs any more."""
        self.stopping.set()
        if self._reads_now:
            self._now.finish()
        self._heartbeat.stop()
        for recorder in (self._bulk_recorder, self._now_recorder):
            if recorder.is_alive():
                recorder.close()
                recorder.join(10.0)
        for watch in self._watches:
            self._loop.call_soon_threadsafe(watch.cancel)
        self._metering.drain()
        self._line.stop()
        self._close_engines()
        self._metering.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join(10.0)
        if not self._loop_thread.is_alive():
            self._loop.close()
        self._apart.database.close()
        self.context.close()
        log("stopped", part="worker", pid=os.getpid())

    def _close_engines(self) -> None:
        """Close each engine; one that cannot, or hangs, keeps nothing else from being put in order."""
        for served in self._served.values():
            try:
                asyncio.run_coroutine_threadsafe(served.engine.close(), self._loop).result(CLOSE_S)
            except Exception as error:
                log_fault("engine_close_failed", error, model=served.model.name)
