"""A request for a response becomes a chat that is taken, or is refused with the field and the remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest
from orchestrator.fields import EFFORTS, FUNCTION_NAME, MAX_TOOLS
from orchestrator.hints import NO_HINTS
from orchestrator.requests import CHAT, MAX_IMAGES, MAX_MESSAGES, Features, features_of
from orchestrator.responses.answer import from_chat
from orchestrator.responses.fields import FIELDS, NOT_SERVED
from orchestrator.responses.request import to_chat
from tests.responses.canned import PICTURE, says
from tests.responses.official import as_response

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
FIND = {"type": "function", "name": "find", "description": "Finds.", "parameters": None, "strict": True}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": "{}",
    "status": "completed",
}
RETURN = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
SCHEMA = {"type": "json_schema", "name": "topic", "schema": {"type": "object"}, "strict": True}


def asks(**more: Any) -> dict[str, Any]:
    return {"model": "auto", "input": "Where is my order?", **more}


def messages(*items: Any, **more: Any) -> list[dict[str, Any]]:
    return taken({"input": list(items), **more})["messages"]


def taken(body: dict[str, Any]) -> dict[str, Any]:
    """The chat, which the checks of chats have taken."""
    chat = to_chat(body)
    accepted(chat)
    return chat


def accepted(chat: dict[str, Any]) -> Features:
    return features_of(CHAT, chat, NO_HINTS, streams=True)


def refusal(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        to_chat(body)
    return caught.value


def test_a_text_becomes_the_message_of_a_user_behind_the_instructions() -> None:
    chat = taken({"input": "Hi", "instructions": "Be brief."})
    assert chat == {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    assert taken({"input": "Hi", "instructions": ""}) == {"messages": [{"role": "user", "content": "Hi"}]}


def test_every_field_with_a_place_in_a_chat_gets_there() -> None:
    chat = taken(
        asks(
            temperature=0.3, top_p=0.9, max_output_tokens=50, metadata={"order": "1041"}, rightsize={"stakes": "high"},
            reasoning={"effort": "low", "summary": "auto"}, stream=True, stream_options={"include_obfuscation": False},
            text={"format": SCHEMA, "verbosity": "medium"}, top_logprobs=3, tools=[LOOK, FIND], tool_choice="required",
            parallel_tool_calls=False,
        )
    )  # fmt: skip
    assert chat == {
        "model": "auto",
        "messages": [{"role": "user", "content": "Where is my order?"}],
        "temperature": 0.3, "top_p": 0.9, "max_completion_tokens": 50, "metadata": {"order": "1041"},
        "rightsize": {"stakes": "high"}, "reasoning_effort": "low", "stream": True, "logprobs": True, "top_logprobs": 3,
        "response_format": {"type": "json_schema", "json_schema": {"name": "topic", "schema": {"type": "object"}, "strict": True}},
        "tools": [
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "find", "description": "Finds.", "strict": True}},
        ],
        "tool_choice": "required", "parallel_tool_calls": False,
    }  # fmt: skip


def test_harmless_fields_are_taken_and_come_to_nothing() -> None:
    plain = taken(asks())
    harmless = {
        "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h", "store": False,
        "truncation": "disabled", "service_tier": "flex", "max_tool_calls": 5, "stream": False, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": True, "include": ["reasoning.encrypted_content"], "top_logprobs": 0,
        "text": {"format": {"type": "text"}}, "reasoning": {"summary": "detailed", "mode": None},
    }  # fmt: skip
    assert taken(asks(**harmless)) == plain
    assert taken(asks(**dict.fromkeys([*FIELDS.keys() - {"model", "input"}, *NOT_SERVED]))) == plain
    assert taken(asks(background=False)) == plain


def test_log_probabilities_are_asked_for_by_include_or_by_their_number() -> None:
    included = taken(asks(include=["message.output_text.logprobs"]))
    assert (included["logprobs"], included["top_logprobs"]) == (True, 0)
    both = taken(asks(include=["message.output_text.logprobs"], top_logprobs=5))
    assert (both["logprobs"], both["top_logprobs"]) == (True, 5)


def test_a_conversation_keeps_its_turns() -> None:
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Let me ", "annotations": []}, {"type": "output_text", "text": "look.", "annotations": []},
    ]}  # fmt: skip
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    second = {**CALL, "call_id": "call_2", "name": "find"}
    found = messages(
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": "Weather?"}, thought, said, CALL, second, RETURN,
        {**RETURN, "call_id": "call_2", "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"role": "assistant", "content": "It rains."},
    )  # fmt: skip
    assert found == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            {"id": "call_2", "type": "function", "function": {"name": "find", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "It rains."},
    ]  # fmt: skip


def test_no_message_comes_between_calls_and_what_they_came_to() -> None:
    found = messages(CALL, {"role": "assistant", "content": "One moment."}, RETURN)
    assert [message["role"] for message in found] == ["assistant", "tool"]
    assert found[0]["content"] == "One moment."


def test_a_refusal_is_what_the_model_said() -> None:
    item = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    assert messages({"role": "user", "content": "?"}, item)[1]["content"] == "I cannot."


def test_pictures_and_sound_go_to_the_model_as_in_a_chat() -> None:
    sound = {"data": "AAAA", "format": "wav"}
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PICTURE, "detail": "original"},
        {"type": "input_image", "image_url": PICTURE, "file_id": None},
        {"type": "input_audio", "input_audio": sound},
    ]
    chat = taken({"input": [{"role": "user", "content": content}]})
    assert chat["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "input_audio", "input_audio": sound},
    ]
    features = accepted(chat)
    assert (features.images, features.audio) == (2, 1)


def test_one_function_or_a_few_can_be_chosen() -> None:
    one = taken(asks(tools=[LOOK, FIND], tool_choice={"type": "function", "name": "find"}))
    assert one["tool_choice"] == {"type": "function", "function": {"name": "find"}}
    assert len(one["tools"]) == 2
    few = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "find"}]}
    allowed = taken(asks(tools=[LOOK, FIND], tool_choice=few))
    assert [tool["function"]["name"] for tool in allowed["tools"]] == ["find"]
    assert allowed["tool_choice"] == "required"


@pytest.mark.parametrize("name", sorted(NOT_SERVED))
def test_what_is_not_served_is_refused_with_what_to_do_instead(name: str) -> None:
    refused = refusal(asks(**{name: 2}))
    assert refused.param == name
    assert f"`{name}` is not served by /v1/responses." in refused.message
    assert len(refused.message.partition("responses. ")[2]) > 5


@pytest.mark.parametrize(
    "more, param, remedy",
    [
        ({"colour": "red"}, "colour", "Known for /v1/responses: ['include', 'input', "),
        ({"input": None}, "input", "must be text, or a list of 1 to 10,000 items"),
        ({"input": []}, "input", "must be text, or a list of 1 to 10,000 items"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input", "must come to 1 to 10,000 messages"),
        ({"input": ["Hi"]}, "input", "`input[0]` must be an object"),
        ({"input": [{"id": "msg_1"}]}, "input", "`input[0]` refers to a stored item"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input", "Send the item itself"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input", "type 'web_search_call', which is not served"),
        ({"input": [{"type": ["message"], "role": "user"}]}, "input", "`input[0]` is of type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input", "`input[0].role` must be one of user, system, "),
        ({"input": [{"role": [], "content": "x"}]}, "input", "`input[0].role` must be one of"),
        ({"input": [{"role": "user"}]}, "input", "`input[0].content` must be text, or a list of input_text"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input", "has a part that is not input_text"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input", "has a part that is not input_text"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input", "has a part that is not input_text"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}, "input", "Send their text as input_text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}, "input", "must be a data URL"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/y.png"}]}]}, "input", "must be a data URL"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE, "detail": "most"}]}]}, "input", "auto, low, high, original"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav"}}]}]}, "input", "needs `data`"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": PICTURE}]}]}, "input", "holds output_text and nothing else"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}] * (MAX_IMAGES + 1)}]}, "input", "at most 100 images; this one has 101"),
        ({"input": [RETURN]}, "input", "Send the function_call before it"),
        ({"input": [{**CALL, "call_id": ""}]}, "input", "`input[0].call_id` must be text of 1 to 256"),
        ({"input": [{**CALL, "name": "a b"}]}, "input", "as the response had them"),
        ({"input": [{**CALL, "arguments": {}}]}, "input", "as the response had them"),
        ({"input": [CALL, {**RETURN, "output": None}]}, "input", "`input[1].output` must be text"),
        ({"instructions": ["x"]}, "instructions", "must be text"),
        ({"model": ""}, "model", 'must be "auto", a tier, or the name of a model'),
        ({"max_output_tokens": 0}, "max_output_tokens", "a whole number between 1 and 1,000,000"),
        ({"max_output_tokens": 1.5}, "max_output_tokens", "a whole number between 1 and 1,000,000"),
        ({"temperature": True}, "temperature", "between 0 and 2"),
        ({"top_p": 1.1}, "top_p", "between 0 and 1"),
        ({"top_logprobs": 21}, "top_logprobs", "between 0 and 20"),
        ({"max_tool_calls": 0}, "max_tool_calls", "a whole number"),
        ({"include": ["file_search_call.results"]}, "include", "message.output_text.logprobs, reasoning.encrypted_content"),
        ({"include": "message.output_text.logprobs"}, "include", "must be a list"),
        ({"text": "x"}, "text", "may hold `format` and `verbosity`"),
        ({"text": {"verbosity": "low"}}, "text", "Say in `instructions` how long"),
        ({"text": {"format": {"type": "grammar"}}}, "text", '{"type": "json_object"}'),
        ({"text": {"format": {**SCHEMA, "schema": None}}}, "text", "`name` (letters, digits, _ and -, at most 64) and `schema`"),
        ({"text": {"format": {**SCHEMA, "name": "a b"}}}, "text", "`name` (letters, digits, _ and -, at most 64)"),
        ({"text": {"format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}}, "text", "beside its type"),
        ({"text": {"format": {**SCHEMA, "schema": {"type": "colour"}}}}, "text", "The schema in `text.format` is not valid"),
        ({"text": {"format": {**SCHEMA, "schema": {"$ref": "http://x"}}}}, "text", "Put what it needs into $defs"),
        ({"reasoning": "high"}, "reasoning", "may hold `effort` and `summary`"),
        ({"reasoning": {"effort": "max"}}, "reasoning", f"must be one of {', '.join(EFFORTS)}"),
        ({"reasoning": {"summary": "long"}}, "reasoning", "auto, concise, detailed"),
        ({"reasoning": {"mode": "pro"}}, "reasoning", "leave the others out"),
        ({"tools": "look"}, "tools", "must be a list of at most 128 functions"),
        ({"tools": [LOOK] * (MAX_TOOLS + 1)}, "tools", "at most 128"),
        ({"tools": [{"type": "web_search"}]}, "tools", "`tools[0]` is of type 'web_search'. Only functions that you run yourself"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools", "Only functions"),
        ({"tools": [{"type": "function", "function": {"name": "look"}}]}, "tools", "has ['function']. A function has name, description"),
        ({"tools": [{"type": "function", "name": ""}]}, "tools", "it stands beside `type`"),
        ({"tools": [{**LOOK, "parameters": "x"}]}, "tools", "`tools[0].parameters` must be a JSON schema"),
        ({"tools": [{**LOOK, "strict": 1}]}, "tools", "`tools[0].strict` must be true or false"),
        ({"tools": [{**LOOK, "defer_loading": True}]}, "tools", "leave the others out"),
        ({"tool_choice": "required"}, "tool_choice", "which it needs"),
        ({"tool_choice": "any"}, "tool_choice", "must be none, auto, required"),
        ({"tools": [LOOK], "tool_choice": {"type": "function", "name": "find"}}, "tool_choice", "name functions in `tools`"),
        ({"tools": [LOOK], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice", "name functions"),
        ({"tools": [LOOK], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "find"}]}}, "tool_choice", "name functions"),
        ({"tools": [LOOK], "tool_choice": {"type": "web_search_preview"}}, "tool_choice", "name functions"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls", "true or false"),
        ({"metadata": {"a": 1}}, "metadata", "at most 16 texts of at most 512"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "at most 16 texts"),
        ({"metadata": {"a" * 65: "x"}}, "metadata", "names of at most 64"),
        ({"user": "x" * 513}, "user", "at most 512 characters"),
        ({"prompt_cache_key": 7}, "prompt_cache_key", "at most 512 characters"),
        ({"prompt_cache_retention": "1y"}, "prompt_cache_retention", "in_memory, in-memory, 24h"),
        ({"service_tier": "gold"}, "service_tier", "must be one of auto, default"),
        ({"truncation": "auto"}, "truncation", "Shorten it yourself"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "may hold `include_obfuscation`"),
        ({"store": 1}, "store", "true or false"),
        ({"rightsize": {"tier": "huge"}}, "tier", "`rightsize.tier` must be auto, "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_the_field_and_the_remedy(more: dict[str, Any], param: str, remedy: str) -> None:
    refused = refusal(asks(**more))
    assert (refused.param, remedy in refused.message) == (param, True), refused.message


def test_as_many_items_are_taken_as_a_chat_has_messages() -> None:
    items = [{"role": "user", "content": "x"}] * MAX_MESSAGES
    assert len(messages(*items)) == MAX_MESSAGES
    assert refusal({"input": [*items, items[0]]}).param == "input"
    assert "with `instructions`" in refusal({"input": items, "instructions": "Be brief."}).message


@given(st.text(max_size=70))
def test_a_function_may_be_called_what_it_may_be_called_in_a_chat(name: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": {"name": name}}]}
    try:
        accepted(body)
        takes = True
    except InvalidRequest:
        takes = False
    assert (FUNCTION_NAME.fullmatch(name) is not None) == takes


def _maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


TEXT = st.text(max_size=12)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = TEXT | st.sampled_from(
    ["type", "name", "format", "effort", "summary", "parameters", "strict", "tier", "samples"]
)
PLAIN = st.builds(lambda text: {"type": "input_text", "text": text}, TEXT) | st.builds(
    lambda text: {"type": "output_text", "text": text, "annotations": []}, TEXT
)
RICH = PLAIN | st.sampled_from(
    [
        {"type": "input_image", "image_url": PICTURE, "detail": "original"},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
)
ITEM = (
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "developer", "system"]), "content": TEXT | st.lists(RICH, max_size=3)}
    )
    | st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXT | st.lists(PLAIN, max_size=3)})
    | st.sampled_from([CALL, {**CALL, "call_id": "call_2"}, {"type": "reasoning", "id": "rs_1", "summary": []}])
    | st.fixed_dictionaries({**{key: st.just(value) for key, value in RETURN.items()}, "output": TEXT | st.lists(RICH, max_size=3)})
)  # fmt: skip
INPUT = TEXT | st.lists(ITEM, max_size=6).map(lambda items: [{"role": "user", "content": "Hi"}, CALL, *items])
FEW = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "find"}]}
TOOLS = st.one_of(
    st.fixed_dictionaries({}, optional={"tools": st.just([]), "tool_choice": st.sampled_from(["none", "auto"])}),
    st.fixed_dictionaries(
        {"tools": st.permutations([LOOK, FIND, {"type": "function", "name": "x", "strict": None}])},
        optional={
            "tool_choice": st.sampled_from(["none", "auto", "required", {"type": "function", "name": "look"}, FEW])
        },
    ),
)
GOOD = _maybe(
    model=st.sampled_from(["auto", "rlm", "fast"]), instructions=TEXT, max_output_tokens=st.integers(1, 10**6),
    temperature=st.floats(0, 2), top_p=st.floats(0, 1), top_logprobs=st.integers(0, 20),
    include=st.lists(st.sampled_from(["message.output_text.logprobs", "reasoning.encrypted_content"]), max_size=2),
    text=_maybe(verbosity=st.just("medium"), format=st.sampled_from([{"type": "text"}, {"type": "json_object"}, SCHEMA])),
    reasoning=_maybe(effort=st.sampled_from(EFFORTS), summary=st.sampled_from(["auto", None])),
    parallel_tool_calls=st.booleans(), max_tool_calls=st.integers(1, 9), metadata=st.dictionaries(st.text(min_size=1, max_size=8), TEXT, max_size=3),
    stream=st.booleans(), store=st.booleans(), truncation=st.just("disabled"), service_tier=st.sampled_from(["auto", "flex"]),
    user=TEXT, safety_identifier=TEXT, prompt_cache_key=TEXT, rightsize=_maybe(stakes=st.just("high"), samples=st.integers(1, 4)),
)  # fmt: skip


@given(given_input=INPUT, fields=GOOD, tools=TOOLS)
def test_whatever_is_asked_for_rightly_is_a_chat_that_is_taken_and_has_a_response(
    given_input: Any, fields: dict[str, Any], tools: dict[str, Any]
) -> None:
    body = {"input": given_input, **fields, **tools}
    before = json.dumps(body)
    taken(body)
    assert json.dumps(body) == before, "the caller's body stays as it is"
    assert as_response(from_chat(says(), body, "resp_1", 1)).output_text


@given(
    base=GOOD,
    tools=TOOLS,
    wrong=st.tuples(st.sampled_from([*FIELDS, *NOT_SERVED, "colour"]), JUNK)
    | st.tuples(st.just("input"), st.lists(ITEM | JUNK, max_size=4))
    | st.tuples(
        st.sampled_from(["text", "reasoning", "metadata", "rightsize"]), st.dictionaries(KEYS, JUNK, max_size=2)
    )
    | st.tuples(st.just("tools"), st.lists(st.dictionaries(KEYS, JUNK, max_size=4), max_size=2)),
)
def test_nothing_but_a_refusal_or_a_chat_comes_of_junk(
    base: dict[str, Any], tools: dict[str, Any], wrong: tuple[str, Any]
) -> None:
    name, junk = wrong
    body = asks(**base, **tools) | {name: junk}
    try:
        chat = to_chat(body)
    except InvalidRequest as caught:
        refused = caught
    else:
        accepted(chat)
        as_response(from_chat(says(), body, "resp_1", 1))
        return
    assert refused.param
