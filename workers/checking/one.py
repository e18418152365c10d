"""One model from loading to closing: its questions, its curve, and the limits and prices that follow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, RightsizeError
from orchestrator.fleet import Model
from workers.checking import asking, figures, measuring
from workers.checking.asking import Maker, Question
from workers.checking.figures import Level, Unit
from workers.checking.report import Check, Report
from workers.engines import open_engine
from workers.engines.base import Engine

SAID_CHARS: Final = 200
MOST_LOAD: Final = 0.75
"""Of the machine's cores, before a model is loaded."""
BRIEF_TOKENS: Final = 2
"""Of an answer: a model that says so little is counted by answers."""
REMEDIES: Final = {
    "json": "Set no schemas for this model, or serve it by an engine that holds answers to them.",
    "reasoning": "Check [models.NAME.reasoning]: `parser`, or `begin` and `end`, must be the ones that this model uses.",
    "image": "Serve a model that sees, or give the tier mllm another one.",
    "audio": "Serve a model that hears, or give the tier mllm another one.",
    "embedding": "Serve a model made for embeddings at this address, or ask it for none.",
    "classes": "Serve a model that classifies, or leave /v1/classify out of [models.NAME] `endpoints`.",
    "scores": "Serve a model that scores, or leave /v1/score out of [models.NAME] `endpoints`.",
}
INSTALL: Final = "Run: pip install 'rightsize[server,slm]'"
LOG_REMEDY: Final = "The engine's own log above tells more."
USUAL_REMEDY: Final = "Look at the model itself and at its chat template: try it with its own tools."

Tell = Callable[[str], None]


async def examine(model: Model, blobs: Path, usd_per_hour: Decimal | None, seconds: float, tell: Tell) -> Report:
    """Load a model, ask and measure it, and close it whatever happens; what is wrong with it stands in the report."""
    hour = usd_per_hour if usd_per_hour is not None else model.card_on(datetime.now(UTC).date()).hour or None
    report = Report(model.name, str(model.tier), model.engine, usd_per_hour=hour)
    report.now = {name: getattr(model, name) for name in ("slots", "max_input_tokens", "expected_latency_s")}
    report.remarks += _busy()
    tell("loading")
    began = time.monotonic()
    engine: Engine | None = None
    try:
        engine = open_engine(model, blobs)
        await engine.load()
        report.load_s = time.monotonic() - began
        await _ask_and_measure(model, engine, blobs, seconds, tell, report)
    except Exception as error:  # an engine's own surprise must not keep the other models from being checked
        report.checks.append(_failed_whole(error, loaded=bool(report.load_s)))
    finally:
        if engine is not None:
            tell("closing")
            await engine.close()
    return report


async def _ask_and_measure(
    model: Model, engine: Engine, blobs: Path, seconds: float, tell: Tell, report: Report
) -> None:  # fmt: skip
    task = _task(model, blobs) if model.engine == "specialist" else None
    for question in asking.questions(model, engine.limits(), task):
        tell(f"asking: {question.kind}")
        report.checks.append(await _ask(engine, question, model, report))
    sound = frozenset(check.kind for check in report.checks if check.state == "sound")
    maker = asking.load_maker(model, sound, task)
    if maker is not None:
        await _measure(engine, maker, _unit(report, sound), seconds, tell, report)


async def _ask(engine: Engine, question: Question, model: Model, report: Report) -> Check:
    began = time.monotonic()
    try:
        answer = await measuring.perform(engine, question.request)
    except EngineFault as fault:
        return _refused(question.kind, fault, model, time.monotonic() - began)
    except Exception as error:  # what the worker would record as a fault of the engine's own
        problem = f"{type(error).__name__}: {error}"
        return Check(question.kind, "failed", seconds=time.monotonic() - began, problem=problem, remedy=LOG_REMEDY)
    verdict = question.judge(answer)
    _note(answer, report)
    usage, said = answer.usage, " ".join(verdict.said.split())[:SAID_CHARS]
    wrong = "; ".join(verdict.problems)
    return Check(
        question.kind,
        "failed" if wrong else "sound",
        f"{said} ({verdict.remark})" if verdict.remark else said,
        time.monotonic() - began,
        usage.input_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        wrong,
        REMEDIES.get(question.kind, USUAL_REMEDY).replace("NAME", model.name) if wrong else "",
    )


def _refused(kind: str, fault: EngineFault, model: Model, seconds: float) -> Check:
    """What a fault means: the `openai` engine claims all that any server may have, and this server need not have it."""
    missing = model.engine == "openai" and kind != "text" and not fault.retryable and fault.http_status < 500
    if missing:
        return Check(kind, "not served", seconds=seconds, problem=fault.message)
    return Check(kind, "failed", seconds=seconds, problem=f"{fault.fault_code}: {fault.message}", remedy=_help(fault))


def _help(fault: EngineFault) -> str:
    """What to do about a fault, beyond what it says itself."""
    if fault.fault_code == "no_specialist":
        return "Train one: rightsize train TASK --labels FILE.csv"
    if fault.retryable:
        return "The server is away or busy: look at it, then check again."
    return USUAL_REMEDY


def _note(answer: Answer, report: Report) -> None:
    report.revision = answer.model_revision
    if answer.simulated and not report.simulated:
        report.simulated = True
        report.remarks.append("simulated: the figures are those of its options, and nothing of them is written")


async def _measure(engine: Engine, maker: Maker, unit: Unit, seconds: float, tell: Tell, report: Report) -> None:
    report.unit = unit
    report.levels = await measuring.rise(engine, maker, unit, seconds, tell)
    best = figures.best_level(report.levels, unit)
    broken = next((level for level in report.levels if level.faults), None)
    if broken is not None:
        report.remarks.append(f"with {broken.concurrency} at once a request failed: {broken.faults[0]}")
    if best is None:
        problem = broken.faults[0] if broken else "no request was answered"
        report.checks.append(Check("load", "failed", problem=problem, remedy=USUAL_REMEDY))
        return
    if unit == "output tokens":
        tell("reading alone")
        report.prefill_tps = await measuring.reading(engine, maker, best.concurrency, seconds)
        if report.prefill_tps is None:
            report.remarks.append(
                "reading alone could not be measured: prices and speeds take reading and writing together"
            )
        report.decode_tps = figures.decode_speed(best, report.prefill_tps)
    elif unit == "input tokens":
        report.prefill_tps = best.input_tps
    limits, said = engine.limits(), int(report.now["max_input_tokens"])
    longest = await measuring.longest_input(engine, maker, min(limits.max_input_tokens, said), tell)
    beyond = f", and it says that it takes {limits.max_input_tokens:,}" if limits.max_input_tokens > said else ""
    report.remarks.append(f"longest input: {longest.how}{beyond}")
    context = limits.context or (longest.tokens if longest.is_all else None)
    writes = unit == "output tokens"
    most = figures.input_limit(longest.tokens, context if writes else None, limits.max_output_tokens)
    if most < longest.tokens:
        report.remarks.append(f"max_input_tokens leaves room for an answer: prompt and answer share {context:,} tokens")
    _suggest(best, unit, most, limits.slots, report)


def _suggest(best: Level, unit: Unit, longest: int, slots: int, report: Report) -> None:
    report.suggested = {
        "slots": best.concurrency,
        "max_input_tokens": longest,
        "expected_latency_s": figures.rounded_s(best.latency_s),
    }
    if best.concurrency == slots and len(report.levels) > 1:
        report.remarks.append(f"it was still getting quicker at its {slots} slots: raise `slots` and check again")
    if report.usd_per_hour:
        hour = report.usd_per_hour
        by_tokens = figures.rates(hour, prefill_tps=report.prefill_tps, decode_tps=report.decode_tps)
        report.rates = figures.rate_a_request(hour, best.answers_ps) if unit == "answers" else by_tokens
        report.rates["hour"] = hour


def _unit(report: Report, sound: frozenset[str]) -> Unit:
    """What throughput is counted in: what the model makes, or answers where it makes too little to count."""
    if not sound & {"text", "completion"}:
        return "input tokens"
    most = max(check.output_tokens for check in report.checks if check.state == "sound")
    return "output tokens" if most > BRIEF_TOKENS else "answers"


def _task(model: Model, blobs: Path) -> str | None:
    """The task by which a specialist is asked: the first that it serves."""
    if model.tasks:
        return model.tasks[0]
    from orchestrator.learned import specialist as specialists

    return next(iter(specialists.tasks_with_specialists(Path(model.path) if model.path else blobs)), None)


def _busy() -> list[str]:
    """That other work runs on this machine already, which spoils every figure."""
    if not hasattr(os, "getloadavg"):
        return []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= MOST_LOAD * cores:
        return []
    return [f"this machine is busy with other work (load {load:.1f} on {cores} cores): check again when it is idle"]


def _failed_whole(error: Exception, *, loaded: bool) -> Check:
    kind = "measuring" if loaded else "loading"
    if isinstance(error, ModuleNotFoundError):
        return Check(kind, "failed", problem=f"{error.name} is not installed", remedy=INSTALL)
    if isinstance(error, RightsizeError):
        return Check(kind, "failed", problem=error.message, remedy="Mend what the message names, then check again.")
    problem = f"{type(error).__name__}: {error}"
    return Check(kind, "failed", problem=problem, remedy=LOG_REMEDY)
