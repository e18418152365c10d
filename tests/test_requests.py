"""What comes from a caller: within its bounds it is read, outside of them it is refused with the field and the remedy."""

from __future__ import annotations

import base64
import io
import re
import string
import wave
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orchestrator import fields, hints
from orchestrator.contracts import Stakes, Tier
from orchestrator.errors import InvalidRequest
from orchestrator.fields import CAPS, WHOLE
from orchestrator.hints import NO_HINTS, Hints, hints_from
from orchestrator.requests import CHAT, CLASSIFY, ENDPOINTS, SCORE, engine_body, features_of, score_pairs

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
ASK = {"role": "user", "content": "Where is my order?"}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": [ASK], **more}


def says(content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content}]}


def refusal(endpoint: str, body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        features_of(endpoint, body, NO_HINTS)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        chat(stop="x", logprobs=True, top_logprobs=5, logit_bias={"5": -100, "17": 0.5}),
        chat(stop=None, logprobs=None, logit_bias=None, tools=None, tool_choice="auto"),
        chat(tools=[TOOL, {"type": "function", "function": {"name": "look-up.now"}}], tool_choice="required"),
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look"}}),
        {
            "messages": [
                ASK,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "x"},
            ]
        },
    ],
)
def test_fields_as_clients_send_them_are_taken(body: dict[str, Any]) -> None:
    assert features_of(CHAT, body, NO_HINTS).model == "auto"


@pytest.mark.parametrize(
    "endpoint, body, param, remedy",
    [
        ("/v1/images", chat(), "url", "Use one of /v1/chat/completions, /v1/classify, /v1/completions, /v1/embeddings, /v1/score."),
        (CHAT, [], "body", "must be a JSON object"),
        (CHAT, chat(colour="red"), "colour", "Known for /v1/chat/completions: ['frequency_penalty', "),
        (COMPLETIONS, {"prompt": "x", "messages": []}, "messages", "Known for /v1/completions: ['echo', "),
        (CHAT, chat(stream=True), "stream", "Leave it out"),
        (CHAT, chat(model=""), "model", 'must be "auto", a tier, or the name of a model'),
        (CHAT, chat(model="x" * 129), "model", 'must be "auto", a tier, or the name of a model'),
        (CHAT, chat(model=7), "model", 'must be "auto", a tier, or the name of a model'),
        (CHAT, chat(stop=7), "stop", "a list of at most 16 texts"),
        (CHAT, chat(stop=["x"] * 17), "stop", "a list of at most 16 texts"),
        (CHAT, chat(stop=["x", 7]), "stop", "a list of at most 16 texts"),
        (CHAT, {}, "messages", "a list of 1 to 10,000 messages"),
        (CHAT, {"messages": []}, "messages", "a list of 1 to 10,000 messages"),
        (CHAT, {"messages": [ASK] * 10_001}, "messages", "a list of 1 to 10,000 messages"),
        (CHAT, {"messages": [ASK, "hello"]}, "messages", "`messages[1]` must be an object with a `role`"),
        (CHAT, {"messages": [{"content": "x"}]}, "messages", "`messages[0]` must be an object with a `role`"),
        (CHAT, says("x", "root"), "messages", "`messages[0].role` must be one of system, developer, user, assistant, tool, function"),
        (CHAT, says("x", "User"), "messages", "`messages[0].role` must be one of"),
        (CHAT, says("x", ""), "messages", "`messages[0].role` must be one of"),
        (CHAT, {"messages": [ASK, {"role": "user\n", "content": "x"}]}, "messages", "`messages[1].role` must be one of"),
        (CHAT, says(None), "messages", "`messages[0].content` must be text or a list of parts"),
        (CHAT, says({"text": "x"}, "assistant"), "messages", "`messages[0].content` must be text or a list of parts"),
        (CHAT, says([{"type": "video"}]), "messages", "not text, image_url or input_audio"),
        (CHAT, says([{"type": "text", "text": 7}]), "messages", "not text, image_url or input_audio"),
        (CHAT, says(["x"]), "messages", "not text, image_url or input_audio"),
        (CHAT, says([{**PICTURE, "image_url": {"url": "http://10.0.0.1/x"}}]), "messages", "must be data URLs (data:image/"),
        (CHAT, says([{**PICTURE, "image_url": {"url": "data:text/html,x"}}]), "messages", "must be data URLs (data:image/"),
        (CHAT, says([{"type": "input_audio", "input_audio": {}}]), "messages", "needs `data`"),
        (CHAT, says([SOUND] * 21), "messages", "at most 20 sounds; this one has 21"),
        (CHAT, says([PICTURE] * 101), "messages", "at most 100 images; this one has 101"),
        (COMPLETIONS, {}, "prompt", "text, or a list of 1 to 2,048 texts"),
        (COMPLETIONS, {"prompt": [1, 2]}, "prompt", "text, or a list of 1 to 2,048 texts"),
        (EMBEDDINGS, {"input": []}, "input", "text, or a list of 1 to 2,048 texts"),
        (CLASSIFY, {"input": [""] * 2049}, "input", "text, or a list of 1 to 2,048 texts"),
        (CLASSIFY, {"input": ["x" * 4_000_001] * 2}, "body", "reads at most 8,000,000 characters"),
        (CLASSIFY, {"input": "x", "seed": 1}, "seed", "Known for /v1/classify: ['input', "),
        (CHAT, chat(stop=[""]), "stop", "none of them empty"),
        (CHAT, chat(logprobs="abc"), "logprobs", "true or false"),
        (CHAT, chat(logprobs=3), "logprobs", "`top_logprobs` beside it"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": True}, "max_tokens", "a whole number between 1 and 1,000,000."),
        (COMPLETIONS, {"prompt": "x", "temperature": 3}, "temperature", "a number between 0 and 2."),
        (COMPLETIONS, {"prompt": "x", "logprobs": -1}, "logprobs", "a whole number between 0 and 20"),
        (COMPLETIONS, {"prompt": "x", "logprobs": True}, "logprobs", "a whole number between 0 and 20"),
        (COMPLETIONS, {"prompt": ["x", ""]}, "prompt", "nothing to go on from"),
        (CHAT, chat(logit_bias="x"), "logit_bias", "for each of at most 1,024 tokens"),
        (CHAT, chat(logit_bias={"abc": 1}), "logit_bias", "by their ids"),
        (CHAT, chat(logit_bias={"5": 101}), "logit_bias", "between -100 and 100"),
        (CHAT, chat(tools="x"), "tools", "a list of 1 to 128 functions"),
        (CHAT, chat(tools=[]), "tools", "a list of 1 to 128 functions"),
        (CHAT, chat(tools=[1]), "tools", "a list of 1 to 128 functions"),
        (CHAT, chat(tools=[{"type": "function"}]), "tools", "a list of 1 to 128 functions"),
        (CHAT, chat(tools=[{"type": "function", "function": {"name": "a b"}}]), "tools", "a list of 1 to 128 functions"),
        (CHAT, chat(tools=[{**TOOL, "type": "program"}]), "tools", "a list of 1 to 128 functions"),
        (CHAT, chat(tool_choice="required"), "tool_choice", "which it needs"),
        (CHAT, chat(tools=[TOOL], tool_choice="any"), "tool_choice", "none, auto, required or one of the functions"),
        (CHAT, chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "leap"}}), "tool_choice", "one of the functions"),
        (CHAT, {"messages": [ASK, {"role": "assistant", "tool_calls": "junk"}]}, "messages", "`messages[1].tool_calls` must be a list"),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}]}, "messages", "`arguments` as text"),
        ("/v1/completions", {"prompt": "x", "echo": True}, "echo", "is not served"),
        ("/v1/completions", {"prompt": "x", "suffix": "y"}, "suffix", "is not served"),
        (CLASSIFY, {"input": "x", "use_activation": 1}, "use_activation", "must be true or false"),
        (CLASSIFY, {"input": "x", "rightsize": {"samples": 2}}, "samples", "its answer is no text"),
        (SCORE, {"queries": "x"}, "documents", "must have `queries` and `documents`"),
        (SCORE, {"queries": "x", "text_2": "y"}, "documents", "must have `queries` and `documents`"),
        (SCORE, {"queries": "x", "documents": "y", "text_1": "x", "text_2": "y"}, "documents", "no others"),
        (SCORE, {"queries": ["x", "y"], "documents": ["x"] * 3}, "queries", "one text, or as many as `documents`"),
        (SCORE, {"queries": "x" * 4_000, "documents": ["y"] * 2_048}, "body", "reads at most 8,000,000 characters"),
        (EMBEDDINGS, {"input": ["x"] * 2049}, "input", "text, or a list of 1 to 2,048 texts"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_and_the_remedy(endpoint: str, body: Any, param: str, remedy: str) -> None:
    error = refusal(endpoint, body)
    assert error.param == param
    assert remedy in error.message
    assert (error.status, error.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    "hints, param, remedy",
    [
        ("slm", "rightsize", "must be an object"),
        ({"colour": "red"}, "rightsize", "Known: ['adapter', 'cascade', 'deadline', 'escalate', "),
        ({"adapter": "../up"}, "adapter", "must be the name of an adapter"),
        ({"adapter": 7}, "adapter", "must be the name of an adapter"),
        ({"task": "Support Triage"}, "task", "lower-case letters, digits and dashes, at most 63"),
        ({"task": "x" * 64}, "task", "at most 63"),
        ({"task": 7}, "task", "at most 63"),
        ({"tier": "huge"}, "tier", "must be auto, slm, llm, rlm, mllm; it is 'huge'"),
        ({"tier": ["slm"]}, "tier", "must be auto, slm, llm, rlm, mllm"),
        ({"stakes": "enormous"}, "stakes", "must be low, normal, high"),
        ({"stakes": ""}, "stakes", "must be low, normal, high"),
        ({"instructions": "x" * 100_001}, "instructions", "at most 100,000 characters"),
        ({"instructions": 7}, "instructions", "at most 100,000 characters"),
        ({"max_latency_s": 0}, "max_latency_s", "between 0.001 and 1,000,000"),
        ({"max_latency_s": float("nan")}, "max_latency_s", "between 0.001 and 1,000,000"),
        ({"max_latency_s": True}, "max_latency_s", "between 0.001 and 1,000,000"),
        ({"max_cost_usd": "-0.01"}, "max_cost_usd", 'US dollars between 0 and 1,000,000, such as "0.05"'),
        ({"max_cost_usd": "1000000.01"}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": "five"}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": "NaN"}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": "0." + "0" * 40}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": "1e-999999"}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": 1e-13}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": "1_0"}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": " 5 "}, "max_cost_usd", "between 0 and 1,000,000"),
        ({"max_cost_usd": True}, "max_cost_usd", "between 0 and 1,000,000"),
    ],
)  # fmt: skip
def test_a_refused_hint_names_itself_and_the_remedy(hints: Any, param: str, remedy: str) -> None:
    error = refusal(CHAT, chat(rightsize=hints))
    assert error.param == param
    assert remedy in error.message


@pytest.mark.parametrize("name", sorted(CAPS))
def test_a_number_is_taken_at_its_bounds_and_refused_beyond_them(name: str) -> None:
    low, high = CAPS[name]
    endpoint, body = (EMBEDDINGS, {"input": "x"}) if name == "dimensions" else (CHAT, chat())
    for value in (low, high, None):
        features_of(endpoint, {**body, name: value}, NO_HINTS)
    wrong = [low - 1, high + 1, float("nan"), float("inf"), True, "1", [1], *([low + 0.5] if name in WHOLE else [])]
    for other in wrong:
        error = refusal(endpoint, {**body, name: other})
        assert error.param == name
        assert f"between {low:,} and {high:,}.".replace(".0 ", " ").replace(".0.", ".") in error.message


def test_what_a_request_asks_for_is_read() -> None:
    body = {
        "model": "auto", "max_tokens": 7, "n": 2,
        "messages": [
            {"role": "system", "content": "Prove it."},
            {"role": "user", "content": [{"type": "text", "text": "x" * 390}, PICTURE, SOUND]},
            {"role": "assistant", "content": None, "tool_calls": []},
        ],
        "rightsize": {"task": "support-triage", "tier": "auto", "stakes": "high", "max_cost_usd": 0.1, "max_latency_s": 2},
    }  # fmt: skip
    found = features_of(CHAT, body, NO_HINTS)
    assert found.hints == Hints("support-triage", None, Stakes.HIGH, Decimal("0.1"), 2)
    assert (found.images, found.audio, found.choices, found.max_output_tokens) == (1, 1, 2, 7)
    assert found.input_tokens == (390 + len("Prove it.")) // 4 + 4 + 800
    assert found.signals == ("mathematics",)
    assert found.prefix_hash != 0


def test_a_row_says_more_than_its_batch_and_neither_reaches_the_engine() -> None:
    batch = hints_from({"tier": "llm", "max_cost_usd": "5", "instructions": "Answer."})
    body = chat(rightsize={"tier": "rlm", "max_cost_usd": 0})
    hints = features_of(CHAT, body, batch).hints
    assert (hints.tier, hints.max_cost_usd, hints.instructions) == (Tier.RLM, Decimal(0), "Answer.")
    assert engine_body(body, hints) == {"messages": [{"role": "system", "content": "Answer."}, ASK]}
    assert "rightsize" in body


FIELDS = sorted({field for known in fields.ALLOWED.values() for field in known} | {"rightsize"} | hints.HINTS)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["user", "system", "text", "image_url", "input_audio", "data:image/x", "high", "slm", "1e999999", "\ud800"])
)  # fmt: skip
KEYS = st.sampled_from([*FIELDS, "role", "content", "type", "text", "image_url", "url", "input_audio"]) | st.text(
    string.ascii_letters, max_size=3
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
MESSAGES = st.lists(st.dictionaries(st.sampled_from(["role", "content"]), JSON, min_size=1), max_size=3)


@given(st.sampled_from(sorted(ENDPOINTS)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), MESSAGES)
def test_whatever_json_comes_it_is_read_or_refused_with_a_remedy(
    endpoint: str, body: dict[str, Any], messages: Any
) -> None:
    field = {CHAT: "messages", COMPLETIONS: "prompt", SCORE: "queries"}.get(endpoint, "input")
    refused = None
    try:
        other = {"documents": ["y", "z"]} if endpoint == SCORE else {}
        features_of(endpoint, {field: messages if endpoint == CHAT else "x", **other, **body}, NO_HINTS)
    except InvalidRequest as error:
        refused = error
    assert refused is None or (refused.param and re.search(r"must|Known|Leave it out|is not text", refused.message))


@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")]
)
def test_a_score_takes_the_names_that_vllm_knows(names: tuple[str, str]) -> None:
    one, many = names
    assert score_pairs({one: "q", many: ["a", "b"]}) == [("q", "a"), ("q", "b")]
    assert score_pairs({one: ["p", "q"], many: ["a", "b"]}) == [("p", "a"), ("q", "b")]
    features = features_of(SCORE, {one: "q" * 400, many: ["a" * 4, "b" * 40]}, NO_HINTS)
    assert (features.max_output_tokens, features.longest_tokens) == (0, 114)
    assert features.input_tokens > 2 * 100


def _picture(kind: str, size: tuple[int, int]) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, kind)
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tokens(*parts: dict[str, Any]) -> int:
    return features_of(CHAT, says(list(parts)), NO_HINTS).input_tokens - 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_is_estimated_by_its_size_and_never_beyond_what_a_model_gets(kind: str) -> None:
    assert _tokens(_picture(kind, (224, 224))) == 8 * 8 + 2
    assert _tokens(_picture(kind, (1_120, 560)), _picture(kind, (20, 20))) == 40 * 20 + 2 + 3
    assert 2_400 < _tokens(_picture(kind, (4_000, 3_000))) < 2_600


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
def test_every_role_that_openai_knows_may_speak(role: str) -> None:
    assert features_of(CHAT, says("Hello", role), Hints()).input_tokens == 5


def test_a_jpeg_with_large_segments_before_its_size_is_estimated_too() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (280, 280)).save(buffer, "JPEG", icc_profile=bytes(180_000))
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    assert _tokens({"type": "image_url", "image_url": {"url": url}}) == 102


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,", "data:image/png,raw", "data:image/png", "data:image/png;base64,ÄÖ"]
)
def test_a_picture_that_cannot_be_read_has_an_estimate_all_the_same(url: str) -> None:
    assert _tokens({"type": "image_url", "image_url": {"url": url}}) == 800


def test_a_sound_is_estimated_by_its_seconds() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(4 * 16_000 * 3))
    part = {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(buffer.getvalue()).decode(), "format": "wav"},
    }
    found = features_of(CHAT, says([part, part]), NO_HINTS)
    assert (found.audio, found.audio_seconds, found.input_tokens) == (2, Decimal("6.000"), 154)
