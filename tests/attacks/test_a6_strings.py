"""Hostile texts in every string of every route: refused or taken as the text they are, and never a fault of ours. A6."""

from __future__ import annotations

import unicodedata
from typing import Any

import orjson
import pytest

from tests.api.test_batches import ended, jsonl
from tests.attacks.alone import answer, connect, head
from tests.attacks.routes import BODIES, JSON, UPLOADS, address, body_of, changed, leaves, must_be_sound, routes, things
from tests.serving import Api
from tests.stack import chat, row

MARK = "@@attack@@"
UNSTORABLE = {
    "nul": rb'"a\u0000b"', "nul-first": rb'"\u0000"', "surrogate": rb'"\ud800"', "surrogates-swapped": rb'"\udc00\ud800"',
    "surrogate-raw": b'"\xed\xa0\x80"', "overlong": b'"\xc0\xaf\xc0\xae\xc0\xae"', "overlong-nul": b'"\xc0\x80"',
    "five-bytes": b'"\xf8\x88\x80\x80\x80"', "beyond-unicode": b'"\xf4\x90\x80\x80"', "half": b'"\xe2\x82"', "latin": b'"\xff\xfe"',
    "control": b'"a\x01b"', "raw-newline": b'"a\r\nb"',
}  # fmt: skip
"""Literals that JSON or PostgreSQL cannot hold."""
TEXTS = {
    "sql": "'; DROP TABLE jobs; --", "sql-or": "' OR '1'='1", "sql-comment": "x'/**/UNION/**/SELECT hash FROM api_keys--", "like": "%_\\",
    "format": "%s%n{0}{0.__class__}%(x)s:name :tenant", "crlf": "a\r\nSet-Cookie: x=1\r\n\r\n<script>", "ansi": "\x1b[31m\x7f\x9b", "path": "../../../etc/passwd",
    "jndi": "${jndi:ldap://127.0.0.1/x}{{7*7}}", "rtl": "\u202e\u2066gnp.exe\u2069", "nfkc": "ﬁ①Å\u212a\u1100\u1161",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufeff", "emoji": "👩\u200d👩\u200d👧" * 50, "long": "A" * 200_000, "tags": "\U000e0041\U000e0042",
    "empty": "", "spaces": " \t\u00a0\u3000",
}  # fmt: skip
"""Texts that are texts."""
OTHERS = [
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"-0.0",
    b"[]",
    b'{"$gt":""}',
    b'{"$where":"1"}',
    b'["a",["b"]]',
    b"12345678901234567890123",
]
"""Values that are no texts."""
ADDRESSES = [
    "%00", "a%00b", "%ff%fe", "%ed%a0%80", "%c0%af%c0%ae", "%0d%0aSet-Cookie:%20x=1", "%27%20OR%20%272%27=%272", "%2e%2e%2f%2e%2e%2f", "..%5c",
    "%e2%80%ae", "x" * 5_000, "%", "%zz", "%u0000", "%25%30%30", "%7B%7D", "-1", "0", "1e400", "nan", "99999999999999999999", "%F0%9F%91%A9",
]  # fmt: skip


@pytest.fixture(scope="module")
def known(api: Api) -> dict[str, str]:
    return things(api)


def sent(body: dict[str, Any], place: tuple[Any, ...], literal: bytes) -> bytes:
    """A body with a literal at a place, as bytes: no library would write most of them."""
    return orjson.dumps(changed(body, place, MARK)).replace(f'"{MARK}"'.encode(), literal)


@pytest.mark.parametrize("path", sorted(BODIES))
def test_a6_a_text_that_cannot_be_stored_is_refused_in_every_string(api: Api, known: dict[str, str], path: str) -> None:
    (route,) = (one for one in routes(api) if one.path == path and one.takes_json)
    body = body_of(path, known)
    for literal in UNSTORABLE.values():
        for place in leaves(body):
            content = sent(body, place, literal)
            must_be_sound(
                api.http.request(route.method, address(path, known), content=content, headers=JSON), refused=True
            )
        in_a_name = orjson.dumps({**body, MARK: 1}).replace(f'"{MARK}"'.encode(), literal)
        must_be_sound(
            api.http.request(route.method, address(path, known), content=in_a_name, headers=JSON), refused=True
        )


@pytest.mark.parametrize("path", sorted(BODIES))
def test_a6_a_hostile_text_is_a_text_or_is_refused_and_never_a_fault_of_ours(
    api: Api, known: dict[str, str], path: str
) -> None:
    (route,) = (one for one in routes(api) if one.path == path and one.takes_json)
    body = body_of(path, known)
    for literal in [*map(orjson.dumps, TEXTS.values()), *OTHERS]:
        for place in leaves(body):
            content = sent(body, place, literal)
            must_be_sound(api.http.request(route.method, address(path, known), content=content, headers=JSON))
        in_a_name = orjson.dumps({**body, MARK: 1}).replace(
            f'"{MARK}"'.encode(), literal if literal.startswith(b'"') else b'"x"'
        )
        must_be_sound(
            api.http.request(route.method, address(path, known), content=in_a_name, headers=JSON), refused=True
        )


def test_a6_a_text_that_spells_an_escaped_nul_holds_none(api: Api) -> None:
    spelt = "C strings end in \\u0000, and \\\\u0000 is that with a backslash."
    assert api.post("/v1/chat/completions", chat(spelt)).status_code == 200
    told = api.post("/v1/responses", {"model": "auto", "input": spelt, "instructions": spelt, "metadata": {"a": spelt}})
    assert told.status_code == 200, told.text
    assert told.json()["metadata"] == {"a": spelt}


def test_a6_whatever_stands_in_a_path_or_query_is_a_4xx_or_names_nothing(api: Api, known: dict[str, str]) -> None:
    looked = 0
    for route in routes(api):
        body = {"json": body_of(route.path, known)} if route.takes_json else {}
        for hostile in ADDRESSES:
            for name in route.names:
                where = address(route.path, {**known, name: hostile})
                must_be_sound(api.http.request(route.method, where, **body), refused=True)
                looked += 1
            for name in route.queries:
                if route.method == "GET":
                    must_be_sound(api.http.get(f"{address(route.path, known)}?{name}={hostile}"))
                    looked += 1
    assert looked > 1_000
    assert api.stack.count("SELECT count(*) FROM jobs") > 0, "no table was dropped"


@pytest.mark.parametrize("header", ["Idempotency-Key", "Last-Event-ID", "Content-Type", "Range", "If-Range", "x-stainless-retry-count", "Accept",
    "X-Request-Id", "traceparent"])  # fmt: skip
def test_a6_whatever_stands_in_a_header_is_a_4xx_or_ignored(api: Api, known: dict[str, str], header: str) -> None:
    for value in (
        b"\xff\xfe",
        b"\xc0\xaf",
        b"'; --",
        b"a" * 10_000,
        b"\x80\x1b",
        b"%00",
        b'"',
        b",;=",
        "\u202e".encode(),
        b"0" * 400,
        b"-1e999",
    ):
        for method, path, body in (
            ("POST", "/v1/jobs", orjson.dumps({"body": chat("x")})), ("GET", f"/v1/files/{known['file_id']}/content", b""),
            ("GET", f"/v1/batches/{known['batch_id']}/events", b""),
        ):  # fmt: skip
            with connect(api) as link:
                kind = "" if header == "Content-Type" else "Content-Type: application/json"
                lines = [line for line in (kind, f"Content-Length: {len(body)}", "Connection: close") if line]
                start = head(api, method, path, *lines).removesuffix(b"\r\n")
                link.sendall(start + header.encode() + b": " + value + b"\r\n\r\n" + body)
                said = answer(link)
            assert said.startswith(b"HTTP/1.1 ")
            assert said[9:10] in b"24", (header, value, said[:300])


def test_a6_whatever_stands_in_a_form_is_a_4xx_or_a_label(api: Api) -> None:
    texts = [
        *(text.encode() for text in TEXTS.values()),
        *(literal.strip(b'"') for literal in UNSTORABLE.values()),
        b"\0",
    ]
    for text in texts:
        for name in (b"purpose", b"expires_after[anchor]", b"expires_after[seconds]", b"file", b"unknown"):
            parts = {
                b"purpose": b"batch",
                b"expires_after[anchor]": b"created_at",
                b"expires_after[seconds]": b"3600",
                name: text,
            }
            filename = text if name == b"file" else b"x"
            escaped = filename.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\r", b"").replace(b"\n", b"")
            fields = b"".join(
                b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % one
                for one in parts.items()
                if one[0] != b"file"
            )
            form = (
                fields
                + b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n{}\r\n--b--\r\n' % escaped
            )
            response = api.http.post(UPLOADS, content=form, headers={"Content-Type": "multipart/form-data; boundary=b"})
            must_be_sound(response)
            if response.status_code == 200:
                assert response.json()["filename"].isprintable() or len(response.json()["filename"]) <= 255


def test_a6_custom_ids_that_look_alike_stay_apart_and_come_back_to_the_byte(api: Api) -> None:
    texts = [text for name, text in TEXTS.items() if name not in ("long", "empty")]
    alike = [
        "ﬁ",
        "fi",
        "Å",
        "\u212b",
        "A\u030a",
        "ａ",
        "a",
        "A",
        "K",
        "\u212a",
        "ß",
        "ss",
        "I",
        "İ",
        "ı",
        "x\u200b",
        "x",
        "x ",
        " x",
        "\\u0000",
    ]
    assert len({unicodedata.normalize("NFKC", one).casefold() for one in alike}) < len(alike)
    custom_ids = [*dict.fromkeys([*texts, *alike])]
    lines = [row(custom_id, chat("x")) for custom_id in custom_ids]
    file_id = api.openai.files.create(file=("r.jsonl", jsonl(lines)), purpose="batch").id
    batch = ended(
        api, api.post("/v1/batches", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}).json()["id"]
    )
    assert (batch.status, batch.request_counts.completed) == ("completed", len(custom_ids))
    output = api.openai.files.content(batch.output_file_id or "").content
    assert sorted(orjson.loads(line)["custom_id"] for line in output.splitlines()) == sorted(custom_ids)
    assert output.count(b"\n") == len(custom_ids), "no text breaks a line in two"


def test_a6_a_custom_id_that_cannot_be_stored_is_told_with_its_line(api: Api) -> None:
    good = orjson.dumps(row("good", chat("x"))) + b"\n"
    for literal in UNSTORABLE.values():
        bad = orjson.dumps(row(MARK, chat("x"))).replace(f'"{MARK}"'.encode(), literal) + b"\n"
        file_id = api.openai.files.create(file=("r.jsonl", good + bad), purpose="batch").id
        batch = ended(
            api, api.post("/v1/batches", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}).json()["id"]
        )
        assert batch.status == "failed"
        assert batch.errors is not None
        assert {error.line for error in batch.errors.data or ()} <= {2, 3}
        assert batch.errors.data
    assert api.stack.doctor() == []
