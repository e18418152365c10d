"""What levels, answers and files come to, apart from any engine: the pure parts of `rightsize models check`."""

from __future__ import annotations

import asyncio
import io
import math
import tomllib
import wave
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import fleet
from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault, InvalidConfig
from orchestrator.fleet import Reasoning
from workers.checking import asking, figures, measuring, soundness
from workers.checking.figures import Level, Round
from workers.checking.writing import with_suggestions
from workers.engines.base import EngineLimits, EngineRequest

TODAY = date(2026, 11, 24)


def level(concurrency: int, tps: float, *faults: str, input_tps: float = 0.0, latency_s: float = 1.0) -> Level:
    return Level(concurrency, tps, input_tps, tps / 64, latency_s, faults)


def answer(content: str = "Paris.", usage: Usage | None = None, **body: Any) -> Answer:
    full = body or {"choices": [{"message": {"content": content}}]}
    return Answer(full, usage or Usage(input_tokens=9, output_tokens=5), "r1")


@pytest.mark.parametrize("slots, steps", [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])])
def test_concurrency_doubles_up_to_the_slots(slots: int, steps: list[int]) -> None:
    assert figures.concurrencies(slots) == steps


def test_the_load_rises_only_while_it_pays() -> None:
    assert figures.still_grows([], "output tokens")
    assert figures.still_grows([level(1, 50)], "output tokens")
    assert figures.still_grows([level(1, 50), level(2, 95)], "output tokens")
    assert not figures.still_grows([level(1, 50), level(2, 51)], "output tokens")
    assert not figures.still_grows([level(1, 50), level(2, 95, "out_of_memory: no")], "output tokens")
    assert not figures.still_grows([level(1, 0)], "output tokens")


def test_the_fewest_slots_that_are_about_as_quick_are_suggested_and_never_a_level_that_failed() -> None:
    levels = [level(1, 50), level(2, 96), level(4, 100), level(8, 200, "out_of_memory: no")]
    assert figures.best_level(levels, "output tokens") == levels[1]
    assert figures.best_level([level(1, 9, "x: y")], "output tokens") is None


def test_a_level_is_the_median_of_its_rounds() -> None:
    rounds = [Round(1.0, 2, 20, tokens, (0.4, 0.6)) for tokens in (10, 100, 30)]
    found = figures.level_of(2, rounds)
    assert (found.output_tps, found.input_tps, found.answers_ps, found.latency_s) == (30, 20, 2, 0.5)
    assert figures.level_of(2, [Round(1.0, 0, 0, 0, (), ("a: b",))]).faults == ("a: b",)


def test_reading_is_taken_out_of_the_speed_of_writing() -> None:
    assert figures.decode_speed(level(4, 80, input_tps=40), 200) == pytest.approx(100)
    assert figures.decode_speed(level(4, 80, input_tps=40), None) == 80
    assert figures.decode_speed(level(4, 80, input_tps=300), 200) == 80, "latency, not speed"
    just, over = (figures.decode_speed(level(4, 80, input_tps=tps), 200) for tps in (100, 101))
    assert (just, over) == (pytest.approx(160), pytest.approx(160, rel=0.01)), "no cliff"


def test_a_rate_card_pays_for_the_hour_at_the_measured_speeds_and_never_falls_short() -> None:
    card = figures.rates(Decimal("2.50"), prefill_tps=7_000, decode_tps=900)
    paid = (card["input"] * 7_000 + card["output"] * 900 * 0) / 1_000_000 * 3600
    assert Decimal("2.50") <= paid < Decimal("2.51")
    assert card["output"] == Decimal("0.7717")
    assert figures.rates(Decimal(3), prefill_tps=None, decode_tps=1_000).keys() == {"output"}
    assert figures.rate_a_request(Decimal(1), 500) == {"request": Decimal("0.0000005556")}


def test_the_longest_input_is_found_between_what_was_taken_and_what_was_refused() -> None:
    def search(true_limit: int, claimed: int) -> tuple[int, int]:
        accepted, refused, steps, tries = 0, None, 0, 0
        while (size := figures.next_input(claimed, accepted, refused, steps)) is not None:
            tries += 1
            steps += refused is not None
            accepted, refused = (size, refused) if size <= true_limit else (accepted, size)
        return accepted, tries

    assert search(true_limit=99_999, claimed=32_768) == (32_768, 4)
    found, tries = search(true_limit=4_096, claimed=32_768)
    assert 3_800 < found <= 4_096
    assert tries <= 8
    assert search(true_limit=300, claimed=256) == (256, 1)


@pytest.mark.parametrize(
    "taken, context, answer, limit",
    [(32_768, None, 1_024, 32_768), (4_096, 4_096, 1_024, 3_072), (2_000, 4_096, 1_024, 2_000), (256, 256, 1_024, 192)],
)
def test_an_input_leaves_room_for_the_answer_where_both_share_a_context(
    taken: int, context: int | None, answer: int, limit: int
) -> None:
    assert figures.input_limit(taken, context, answer) == limit


class Wordy:
    """An engine whose words have three tokens each, beside a template of forty, and which holds so many of them."""

    def __init__(self, holds: int) -> None:
        self.holds = holds

    async def perform(self, request: EngineRequest) -> Answer:
        tokens = 40 + 3 * len(request.body["prompt"].split())
        if tokens + 1 > self.holds:
            raise EngineFault("too long", code="context_length_exceeded", retryable=False, http_status=400)
        return replace(answer(), usage=Usage(input_tokens=tokens, output_tokens=1))


@pytest.mark.parametrize("holds", [700, 2_048, 30_000])
def test_the_longest_input_is_tried_in_the_models_own_tokens(holds: int) -> None:
    def maker(size: int, most: int) -> EngineRequest:
        return EngineRequest("job", "/v1/completions", {"prompt": "word " * size, "max_tokens": most}, None, 10.0)

    engine: Any = Wordy(holds)
    found = asyncio.run(measuring.longest_input(engine, maker, holds, lambda _: None))
    assert found == measuring.Longest(holds, False, f"{holds:,} tokens were taken")
    found = asyncio.run(measuring.longest_input(engine, maker, 2 * holds, lambda _: None))
    assert found.is_all
    assert 0.93 * holds <= found.tokens <= holds


def test_sound_answers_are_told_from_unsound_ones() -> None:
    assert soundness.text(answer()).problems == ()
    assert soundness.text(answer("  ")).problems == ("it says nothing",)
    assert soundness.text(answer(usage=Usage())).problems == (
        "no input tokens are counted",
        "no output tokens are counted",
    )
    assert soundness.text(answer(choices=[])).problems == ("it says nothing",)
    assert soundness.image(answer("It is Red.")).remark == "it named the colour, red"


@pytest.mark.parametrize(
    "said, problem",
    [
        ('{"city": "Paris", "inhabitants": 2100000, "size": "large"}', None),
        ('{"city": "Paris", "inhabitants": "many", "size": "large"}', "inhabitants"),
        ('{"city": "Paris", "inhabitants": 2, "size": "huge"}', "size"),
        ('{"city": "Paris"}', "exactly"),
        ("```json\n{}\n```", "not JSON"),
        ('{"city": "Pa', "not JSON"),
    ],
)
def test_json_is_held_against_its_schema(said: str, problem: str | None) -> None:
    problems = soundness.structured(answer(said)).problems
    assert (problem is None) == (problems == ())
    assert problem is None or problem in problems[0]


def test_thoughts_in_the_answer_or_not_counted_are_unsound() -> None:
    judge = soundness.reasoning(Reasoning())
    counted = Usage(input_tokens=9, output_tokens=50, reasoning_tokens=40)
    assert judge(answer("11:15", counted)).problems == ()
    assert "no reasoning tokens" in judge(answer("11:15")).problems[0]
    assert "</think> is in it" in judge(answer("so 11:15 </think> 11:15", counted)).problems[0]


@pytest.mark.parametrize(
    "vectors, problem",
    [
        ([[0.1, 0.2], [0.3, 0.4]], None),
        ([[0.1, 0.2]], "1 of 2"),
        ([[0.1, math.nan], [0.3, 0.4]], "1 of 2"),
        ([[0.1], [0.3, 0.4]], "length"),
        (["text", None], "0 of 2"),
    ],
)
def test_vectors_are_finite_and_equally_long(vectors: list[Any], problem: str | None) -> None:
    found = soundness.vectors(2)(answer(usage=Usage(input_tokens=4), data=[{"embedding": one} for one in vectors]))
    assert (problem is None) == (found.problems == ())
    assert problem is None or problem in found.problems[0]


def limits(**more: Any) -> EngineLimits:
    return EngineLimits(4, 1000, 100, streams=True, endpoints=frozenset({asking.CHAT}), **more)


def the_model(**table: Any) -> fleet.Model:
    row = {"tier": "llm", "engine": "simulated", "rates": [{"request": "0.001"}], **table}
    return fleet.parse({"models": {"m": row}}, "test").fleet.models[0]


def test_a_question_is_asked_for_each_kind_that_is_claimed_and_for_no_other() -> None:
    def kinds(found: EngineLimits, **table: Any) -> list[str]:
        return [one.kind for one in asking.questions(the_model(**table), found, None)]

    assert kinds(limits()) == ["text"]
    assert kinds(limits(structured=True, images=True, audio=True)) == ["text", "json", "image", "audio"]
    assert kinds(limits(), reasoning={}) == ["text", "reasoning"]
    everything = EngineLimits(4, 1000, 100, True, frozenset({asking.COMPLETION, asking.EMBEDDING}))
    assert kinds(everything) == ["completion", "embedding"]


def test_the_image_and_the_sound_are_what_they_say() -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(asking.red_square()))
    red, green, blue = picture.convert("RGB").getpixel((5, 60))  # type: ignore[misc]
    assert red > 200
    assert green == blue < 50
    with wave.open(io.BytesIO(asking.tone())) as sound:
        assert sound.getnframes() == sound.getframerate()


def test_no_two_prompts_begin_alike() -> None:
    assert len({asking.prompt(40)[:14] for _ in range(100)}) == 100


FILE = """\
# our fleet

[policy]
default_tier = "llm"    # the usual

[models.big]            # the big one
tier = "llm"
engine = "simulated"
slots = 8               # as bought
[models.big.simulate]
seed = 1
[[models.big.rates]]
from = 2026-01-01
input = "1.00"          # of old
request = "0.01"

[models.small]
tier = "slm"
engine = "simulated"
[[models.small.rates]]
request = "0.001"       # the end
"""


CARD = {"output": Decimal("0.77"), "hour": Decimal("2.5")}


def test_writing_keeps_comments_order_and_earlier_cards() -> None:
    new = {"slots": 4, "max_input_tokens": 4096, "expected_latency_s": 0.5}
    card = {"input": Decimal("0.10"), "output": Decimal("0.77"), "hour": Decimal("2.5")}
    text = with_suggestions(FILE, "big", new, card, TODAY)
    kept = [line for line in FILE.splitlines() if not line.startswith("slots")]
    rest = iter(text.splitlines())
    assert all(line in rest for line in kept), text
    assert "slots = 4               # as bought" in text
    model = fleet.parse(tomllib.loads(text), "test").fleet.named("big")
    assert (model.slots, model.max_input_tokens, model.expected_latency_s) == (4, 4096, 0.5)
    assert model.card_on(date(2026, 5, 1)).request == Decimal("0.01")
    now = model.card_on(TODAY)
    assert (now.input, now.output, now.hour, now.request) == (*card.values(), 0)
    again = with_suggestions(text, "big", new, {"input": Decimal("0.2")}, TODAY)
    assert len(tomllib.loads(again)["models"]["big"]["rates"]) == 2, "one card a day"
    assert fleet.parse(tomllib.loads(again), "test").fleet.named("big").card_on(TODAY).input == Decimal("0.2")


def test_what_was_not_measured_keeps_its_price_and_the_hour_stands_once() -> None:
    old = FILE.replace('request = "0.01"', 'image = "0.002"\ncached = "0.05"\nhour = "9"\noutput = "3"')
    model = fleet.parse(tomllib.loads(with_suggestions(old, "big", {}, CARD, TODAY)), "test").fleet.named("big")
    now = model.card_on(TODAY)
    assert (now.image, now.cached, now.input) == (Decimal("0.002"), Decimal("0.05"), Decimal("1.00"))
    assert (now.output, now.hour) == (CARD["output"], CARD["hour"])
    by_request = {"request": Decimal("0.02"), "hour": Decimal("2.5")}
    read = fleet.parse(tomllib.loads(with_suggestions(old, "big", {}, by_request, TODAY)), "test").fleet.named("big")
    assert (read.card_on(TODAY).input, read.card_on(TODAY).output, read.card_on(TODAY).image) == (
        0,
        0,
        Decimal("0.002"),
    )


def test_writing_changes_nothing_where_nothing_is_new() -> None:
    assert with_suggestions(FILE, "big", {"slots": 8}, {}, TODAY) == FILE


@pytest.mark.parametrize(
    "text",
    [
        'models.big.rates = [{request = "0.1"}]\nmodels.big.tier = "llm"\n',
        '[models]\nbig = {tier = "llm", rates = [{request = "1"}]}\n',
    ],
)
def test_fleets_in_other_forms_of_toml_are_written_too(text: str) -> None:
    changed = tomllib.loads(with_suggestions(text, "big", {"slots": 4}, {"input": Decimal(1)}, TODAY))
    assert changed["models"]["big"]["slots"] == 4
    assert changed["models"]["big"]["rates"][-1] == {"from": TODAY, "input": "1"}


def test_a_model_that_the_file_lacks_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="by hand"):
        with_suggestions(FILE, "gone", {"slots": 4}, {}, TODAY)


class Uneven:
    """An engine of which other work takes the time now and then; only what a measurement needs of one."""

    def __init__(self, slots: int, slow: set[int]) -> None:
        self.slots, self.slow, self.asked = slots, slow, 0

    def limits(self) -> EngineLimits:
        return EngineLimits(self.slots, 1000, 100, True, frozenset({asking.CHAT}))

    async def perform(self, request: EngineRequest) -> Answer:
        self.asked += 1
        await asyncio.sleep(0.2 if self.asked in self.slow else 0.01)
        return answer()


def test_a_level_that_other_work_slowed_is_measured_again_before_the_load_stops_to_rise() -> None:
    model = the_model()
    maker = asking.load_maker(model, frozenset({"text"}), None)
    assert maker is not None
    told: list[str] = []
    engine: Any = Uneven(4, slow={*range(4, 10)})  # the first tries of two at once
    levels = asyncio.run(measuring.rise(engine, maker, "output tokens", 0.0, told.append))
    assert told == ["1 at once", "2 at once", "2 at once, again", "4 at once"]
    assert levels[-1].concurrency == 4
