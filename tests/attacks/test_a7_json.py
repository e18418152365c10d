"""JSON bombs: refused at once and in little memory, on every route that reads JSON and in every row of a file. A7."""

from __future__ import annotations

import orjson
import psutil
import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.incoming import MOST_NESTED, MOST_VALUES, check_shape
from orchestrator.settings import MIB, Settings
from tests.api.test_batches import ended
from tests.attacks.alone import Alone, Grown, within
from tests.attacks.conftest import with_settings
from tests.attacks.routes import BODIES, JSON, must_be_sound, routes
from tests.serving import Api
from tests.stack import chat, row, until

WHOLE = 31 * MIB
"""As large as a body may be where nothing else is set."""
DEEP = {
    "lists": b"[" * 100_000, "objects": b'{"a":' * 100_000, "closed": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "mixed": b'{"a":[' * 50_000 + b"]}" * 50_000, "just-over": b'{"a":' * 65 + b"1" + b"}" * 65, "open-text": b"[" * 70 + b'"' * (WHOLE - 80),
}  # fmt: skip
WIDE = {
    "keys": b"{" + b",".join(b'"k%d":0' % n for n in range(1_000_000)) + b"}",
    "same-key": b"{" + b",".join(b'"k":0' for _ in range(5_000_000)) + b"}",
    "numbers": b'{"a":[' + b"1.5," * (WHOLE // 4 - 10) + b"1]}",
    "texts": b'{"a":[' + b'"ab",' * (WHOLE // 5 - 10) + b'"a"]}',
    "empty-texts": b'{"a":[' + b'"",' * (WHOLE // 3 - 200) + b"[]" + b",[]" * 100 + b"]}",
    "empty-lists": b'{"a":[' + b"[]," * 999_000 + b"1]}",
    "nested-lists": b'{"a":[' + (b"[" * 60 + b"]" * 60 + b",") * 10_000 + b"1]}",
}
NUMBERS = {
    "digits": b'{"a":' + b"9" * 100_000 + b"}", "many-digits": b'{"a":' + b"9" * (WHOLE - 10) + b"}", "fraction": b'{"a":0.' + b"1" * 10**6 + b"}",
    "exponent": b'{"a":1e' + b"9" * 100_000 + b"}", "nan": b'{"a":NaN}', "inf": b'{"a":-Infinity}', "hex": b'{"a":0x10}', "octal": b'{"a":010}',
}  # fmt: skip
TEXTS = {
    "backslashes": b'{"a":"' + b"\\\\" * (WHOLE // 2 - 60) + b'"}', "almost-nul": b'{"a":"' + b"\\\\u0000" * (WHOLE // 7 - 60) + b'"}',
    "quotes": b'{"a":"' + b'\\"' * (WHOLE // 2 - 60) + b'","b":' + b"[" * 65 + b"]" * 65 + b"}", "one-name": b'{"' + b"x" * (WHOLE - 20) + b'":1}',
}  # fmt: skip
BOMBS = DEEP | WIDE | NUMBERS | TEXTS


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    """Bodies as large as they may be by default."""
    return with_settings(module_settings, max_request_bytes=32 * MIB, max_row_bytes=32 * MIB, max_file_bytes=256 * MIB)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a7_a_bomb_is_refused_in_a_second_and_in_a_hundred_megabytes(alone: Alone, bomb: str) -> None:
    content = BOMBS[bomb]
    with Grown(alone.process) as grown, within(5):  # a second by itself: seven people share two cores
        must_be_sound(alone.api.http.post("/v1/chat/completions", content=content, headers=JSON), refused=True)
    # The body itself stands twice in memory while it is put together.
    assert grown.mib < 100 + 2 * len(content) / MIB
    assert alone.api.http.get("/livez").status_code == 200


@pytest.mark.parametrize("path", sorted(BODIES))
def test_a7_every_route_that_reads_json_refuses_them(api: Api, path: str) -> None:
    (route,) = (one for one in routes(api) if one.path == path and one.takes_json)
    where = path.replace("{", "").replace("}", "")
    bombs = [
        DEEP["lists"],
        DEEP["closed"],
        WIDE["keys"],
        NUMBERS["digits"],
        NUMBERS["nan"],
        b'{"a":1,"a":2}',
    ]
    for content in bombs:
        with within(5):
            must_be_sound(api.http.request(route.method, where, content=content, headers=JSON), refused=True)


def test_a7_of_two_fields_with_one_name_the_last_one_counts_and_is_checked(api: Api) -> None:
    twice = b'{"messages":[{"role":"user","content":"x"}],"model":"no-such","model":"fast"}'
    assert api.http.post("/v1/chat/completions", content=twice, headers=JSON).json()["model"] == "fast"
    twice = twice.replace(b'"no-such","model":"fast"', b'"fast","model":"no-such"')
    assert api.http.post("/v1/chat/completions", content=twice, headers=JSON).status_code == 404


def test_a7_a_row_of_a_file_is_bounded_like_a_body(api: Api) -> None:
    """A row that nests a thousand deep once left its batch `validating` for ever."""
    bodies = [b'{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":'
              + b'{"items":' * depth + b"{}" + b"}" * depth + b"}}}" for depth in (40, 300, 990, 1000, 1010, 5_000)]  # fmt: skip
    bodies += [BOMBS[name] for name in ("lists", "closed", "keys", "texts", "digits")]
    lines = [
        b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%s}' % one for one in enumerate(bodies)
    ]
    lines.append(orjson.dumps(row("good", chat("x"))))
    orchestrator = psutil.Process(api.stack.processes[0].pid)
    file_id = api.openai.files.create(file=("r.jsonl", b"\n".join(lines)), purpose="batch").id
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "rightsize": {"on_invalid_row": "report"}}
    with Grown(orchestrator) as grown:
        batch = ended(api, api.post("/v1/batches", body).json()["id"])
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, len(bodies))
    assert grown.mib < 150 + 2 * max(map(len, lines)) / MIB
    assert api.stack.doctor() == []


def test_a7_what_is_said_of_a_long_name_is_short_wherever_it_is_said(api: Api) -> None:
    """Rows of 20 MB were once quoted whole in the errors of their batch, and so in every answer about it."""
    name = b"x" * (20 * MIB)
    line = (
        b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"x"}],"'
        + name
        + b'":1}}\n'
    )
    file_id = api.openai.files.create(file=("r.jsonl", b"".join(line % n for n in range(4))), purpose="batch").id
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
    for hints in ({}, {"on_invalid_row": "report"}):
        made = api.post("/v1/batches", {**body, "rightsize": hints}).json()["id"]
        until(lambda made=made: api.http.get(f"/v1/batches/{made}").json()["status"] in ("failed", "completed"), 60)
        shown = api.http.get(f"/v1/batches/{made}")
        assert len(shown.content) < 64_000
        if errors := shown.json()["error_file_id"]:
            assert len(api.openai.files.content(errors).content) < 64_000
    assert len(api.http.get("/v1/batches").content) < 256_000


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_a7_strings_hide_their_brackets_wherever_a_piece_ends(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.incoming.PIECE_BYTES", piece)
    texts = ["[[[[", '"[[', '\\"{{{', "\\", "\\\\", '\\\\"[', "a" * 65, '[\\"]', "]}]}", ""]
    for text in texts:
        for other in texts:
            raw = orjson.dumps({text: [other, {"a": text + other}]})
            check_shape(raw, 3)
            with pytest.raises(InvalidRequest, match="more than 2 deep"):
                check_shape(raw, 2)


def test_a7_the_bounds_are_where_they_say() -> None:
    check_shape(b"[" + b"1," * (MOST_VALUES - 1) + b"1]", 64)
    with pytest.raises(InvalidRequest, match="values"):
        check_shape(b"[" + b"1," * (MOST_VALUES + 1) + b"1]", 64)
    check_shape(b"[" + b"[]," * (MOST_NESTED - 2) + b"[]]", 64)
    with pytest.raises(InvalidRequest, match="arrays and objects"):
        check_shape(b"[" + b"[]," * (MOST_NESTED + 1) + b"[]]", 64)
