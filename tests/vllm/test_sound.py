"""A model that hears, in the real vLLM: sound as bytes, counted by its length, and never mistaken for a picture."""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pytest

from benchmarks.weights import tiny
from orchestrator.errors import EngineFault
from tests.vllm.conftest import Run
from tests.vllm.fleet import warm
from tests.vllm.test_pictures import asking, picture
from workers import media
from workers.engines.base import EngineRequest
from workers.engines.vllm import VLLMEngine

TOKENS_A_SECOND = 25
RATE = 16_000


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory, run: Run[None]) -> Iterator[VLLMEngine]:
    """A warm engine of random weights that takes sound."""
    folder = tiny.folder("hear", tmp_path_factory.mktemp("weights") / "ears")
    with warm(folder, run, "audio", 4) as made:
        yield made


def tone(seconds: float = 1.0, rate: int = RATE) -> bytes:
    """A WAV of one note."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        notes = (int(9_000 * math.sin(440 * math.tau * n / rate)) for n in range(int(seconds * rate)))
        file.writeframes(b"".join(struct.pack("<h", note) for note in notes))
    return buffer.getvalue()


def sound(data: bytes, kind: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}


async def cleaned(engine: VLLMEngine, request: EngineRequest) -> EngineRequest:
    return await media.cleaned(request, engine.limits(), 2_000_000)


async def answered(engine: VLLMEngine, request: EngineRequest) -> Any:
    return await engine.perform(await cleaned(engine, request))


def refusal(run: Run[Any], engine: VLLMEngine, part: dict[str, Any]) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        run(answered(engine, asking(part)))
    assert (caught.value.retryable, caught.value.http_status) == (False, 400)
    return caught.value


def test_the_engine_says_that_it_hears_and_does_not_see(ears: VLLMEngine) -> None:
    assert (ears.limits().images, ears.limits().audio) == (False, True)


def test_a_wav_reaches_the_model_as_bytes_and_is_counted_by_its_length(ears: VLLMEngine, run: Run[Any]) -> None:
    short, long = (run(answered(ears, asking(sound(tone(seconds))))).usage for seconds in (1.0, 3.0))
    assert short.output_tokens == long.output_tokens == 4
    assert abs(long.input_tokens - short.input_tokens - 2 * TOKENS_A_SECOND) <= 1
    without = run(ears.perform(asking())).usage
    assert TOKENS_A_SECOND - 1 <= short.input_tokens - without.input_tokens <= TOKENS_A_SECOND + 8
    assert run(cleaned(ears, asking(sound(tone(3.0))))).audio_seconds == Decimal("3.000")


def test_a_wav_of_another_rate_is_heard_or_refused_by_what_is_missing(ears: VLLMEngine, run: Run[Any]) -> None:
    other = sound(tone(1.0, 44_100))
    if find_spec("torchaudio") is None:  # as it is here: its builds are for CUDA
        assert "torchaudio" in refusal(run, ears, other).message
    else:
        assert run(answered(ears, asking(other))).usage.output_tokens == 4
    assert run(answered(ears, asking(sound(tone())))).usage.output_tokens == 4


def test_several_sounds_in_one_request_each_take_their_tokens(ears: VLLMEngine, run: Run[Any]) -> None:
    one, two = (run(answered(ears, asking(*[sound(tone())] * count))).usage.input_tokens for count in (1, 2))
    assert TOKENS_A_SECOND - 1 <= two - one <= TOKENS_A_SECOND + 4


def test_a_sound_named_png_and_a_picture_named_wav_are_refused_by_what_they_are(
    ears: VLLMEngine, run: Run[Any]
) -> None:
    posing = {"url": f"data:image/png;base64,{base64.b64encode(tone()).decode()}"}
    part = {"type": "image_url", "image_url": posing}
    assert refusal(run, ears, part).fault_code == "no_images"
    with pytest.raises(EngineFault, match=r"This is a sound \(WAV\).*send it as input_audio") as caught:
        run(media.cleaned(asking(part), replace(ears.limits(), images=True), 2_000_000))
    assert caught.value.fault_code == "bad_picture"
    encoded = picture()["image_url"]["url"].partition(",")[2]
    fault = refusal(run, ears, sound(base64.b64decode(encoded)))
    assert fault.fault_code == "bad_audio"
    assert "This is a picture (PNG): send it as image_url." in fault.message
    assert run(answered(ears, asking(sound(tone())))).usage.output_tokens == 4, "the next one is heard"


def test_broken_and_empty_sound_is_refused_and_the_engine_lives(ears: VLLMEngine, run: Run[Any]) -> None:
    whole = tone()
    for bad in (b"", whole[:20], whole[:44], b"RIFF" + bytes(60)):
        assert refusal(run, ears, sound(bad)).fault_code == "bad_audio"
    assert run(answered(ears, asking(sound(whole)))).usage.output_tokens == 4


def test_a_mark_of_a_sound_in_a_text_makes_none(ears: VLLMEngine, run: Run[Any]) -> None:
    heard = ears._prompts.tokenizer.convert_tokens_to_ids(tiny.HEARD[0])
    made = run(ears._prompts.chat(asking(text=f"One: {tiny.HEARD[0]}").body, ""))
    assert heard not in made.tokens
    made = run(ears._prompts.chat(asking(sound(tone()), text=f"Two: {tiny.HEARD[0]}").body, ""))
    assert abs(made.tokens.count(heard) - TOKENS_A_SECOND) <= 1
