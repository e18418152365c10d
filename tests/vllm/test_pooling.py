"""Models that only read: embeddings, classes and scores, each by a tiny model of its kind in the real vLLM."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.weights import tiny
from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.requests import CHAT, CLASSIFY, EMBEDDINGS, SCORE
from tests.vllm.conftest import Run
from tests.vllm.fleet import model
from tests.workers.engines import test_conformance as suite
from tests.workers.engines.test_conformance import TEXTS, Subject
from workers.engines.base import EngineRequest
from workers.engines.vllm import VLLMEngine

SERVED = {"classify": {CLASSIFY}, "embed": {EMBEDDINGS, SCORE}, "score": {CLASSIFY, SCORE}}


@pytest.fixture(scope="module", params=sorted(SERVED))
def reading(request: pytest.FixtureRequest, run: Run[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A warm model that reads, and its kind."""
    path = tiny.folder(request.param, tmp_path_factory.mktemp("weights") / request.param)
    made = VLLMEngine(model(path, slots=8, vllm={"max_model_len": 512}))
    run(made.load())
    yield made, request.param
    run(made.close())


def asked(engine: VLLMEngine, endpoint: str, **body: Any) -> Any:
    return engine.perform(EngineRequest("job_1", endpoint, body, None, 60.0))


def test_it_says_what_it_serves_and_refuses_the_rest(reading: tuple[VLLMEngine, str], run: Run[Any]) -> None:
    engine, kind = reading
    assert engine.limits().endpoints == SERVED[kind]
    with pytest.raises(EngineFault) as caught:
        run(asked(engine, CHAT, messages=[{"role": "user", "content": "Hi"}]))
    assert caught.value.fault_code == "unsupported_endpoint"
    assert all(endpoint in caught.value.message for endpoint in SERVED[kind])


@pytest.mark.parametrize("name", ["embedded", "classified", "scored"])
def test_it_keeps_the_promises_of_an_engine(reading: tuple[VLLMEngine, str], run: Run[Any], name: str) -> None:
    engine, _ = reading

    def check(body: Callable[[Subject], Awaitable[None]]) -> None:
        run(asyncio.wait_for(body(Subject(engine, engine, lambda: asyncio.sleep(0))), 60))

    (case,) = [one for key, one in vars(suite).items() if key.endswith(f"{name}_where_the_engine_says_so")]
    cast("Callable[[Any], None]", case)(check)


def test_usage_is_what_the_model_read(reading: tuple[VLLMEngine, str], run: Run[Any]) -> None:
    engine, kind = reading

    def used(endpoint: str, **body: Any) -> int:
        answer: Answer = run(asked(engine, endpoint, **body))
        return answer.usage.input_tokens

    words = engine._prompts.words
    if kind != "embed":
        assert used(CLASSIFY, input=TEXTS) == sum(used(CLASSIFY, input=text) for text in TEXTS)
    if kind == "score":
        crossed = used(SCORE, queries=TEXTS[0], documents=TEXTS[1:])
        assert crossed >= 3 * len(words(TEXTS[0])) + sum(len(words(text)) for text in TEXTS[1:])
        assert crossed == sum(used(SCORE, queries=TEXTS[0], documents=text) for text in TEXTS[1:])
    if kind == "embed":
        assert used(SCORE, queries=TEXTS[0], documents=TEXTS[1:]) == used(EMBEDDINGS, input=TEXTS)


def test_a_score_by_embeddings_is_their_cosine(reading: tuple[VLLMEngine, str], run: Run[Any]) -> None:
    engine, kind = reading
    if kind != "embed":
        pytest.skip("of the model for embeddings")
    one, other = (row["embedding"] for row in run(asked(engine, EMBEDDINGS, input=TEXTS[:2])).body["data"])
    cosine = sum(x * y for x, y in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
    (scored,) = run(asked(engine, SCORE, text_1=TEXTS[0], text_2=TEXTS[1])).body["data"]
    assert scored["score"] == pytest.approx(cosine, abs=1e-3)
    (same,) = run(asked(engine, SCORE, text_1=TEXTS[0], text_2=TEXTS[0])).body["data"]
    assert same["score"] == pytest.approx(1, abs=1e-6)


def test_a_text_beyond_the_context_and_marks_of_the_tokenizer_do_no_harm(
    reading: tuple[VLLMEngine, str], run: Run[Any]
) -> None:
    engine, kind = reading
    endpoint = EMBEDDINGS if kind == "embed" else CLASSIFY
    with pytest.raises(EngineFault) as caught:
        run(asked(engine, endpoint, input=["short", "far too long " * 600]))
    assert (caught.value.fault_code, caught.value.retryable) == ("context_length_exceeded", False)
    if kind != "classify":
        body = {"queries": f"{tiny.END}{tiny.PAD}", "documents": ["a card", f"{tiny.BEGIN} card"]}
        assert len(run(asked(engine, SCORE, **body)).body["data"]) == 2
    assert run(engine.health()).ready


def test_classes_are_probabilities_unless_they_are_asked_for_raw(
    reading: tuple[VLLMEngine, str], run: Run[Any]
) -> None:
    engine, kind = reading
    if kind != "classify":
        pytest.skip("of the classifier")
    (row,) = run(asked(engine, CLASSIFY, input="where is my card")).body["data"]
    assert row["label"] == f"LABEL_{row['probs'].index(max(row['probs']))}"
    (raw,) = run(asked(engine, CLASSIFY, input="where is my card", use_activation=False)).body["data"]
    assert sum(row["probs"]) == pytest.approx(1, abs=0.01)
    assert raw["probs"] != row["probs"]


def test_an_endpoint_that_the_fleet_names_and_the_model_lacks_is_said_at_the_start(
    run: Run[Any], tmp_path: Path
) -> None:
    path = tiny.folder("classify", tmp_path / "classify")
    made = VLLMEngine(model(path, endpoints=[CLASSIFY, SCORE], vllm={"max_model_len": 512}))
    with pytest.raises(InvalidConfig, match="endpoints names /v1/score, which this model does not serve"):
        run(made.load())
    run(made.close())
