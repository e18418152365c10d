"""Forms and downloads: floods of parts, fields and ranges are bounded (A10), and a file's name is only ever a label (A11)."""

from __future__ import annotations

import random
from urllib.parse import unquote

import pytest

from orchestrator.settings import MIB
from tests.attacks.alone import Alone, Grown, within
from tests.attacks.routes import BODIES, UPLOADS, must_be_sound, routes
from tests.serving import Api

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
PURPOSE = HEAD % (b"purpose", b"", b"batch")
FILE = HEAD % (b"file", b'; filename="x"', b"{}")
OPEN_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
END = b"--b--\r\n"
FLOODS = {
    "parts": HEAD % (b"x", b"", b"y") * 100_000 + END, "files": FILE * 100_000 + END, "empty parts": b"--b\r\n\r\n\r\n" * 100_000 + END,
    "one field": PURPOSE.replace(b"batch", b"x" * 30_000_000) + FILE + END, "headers": b"--b\r\n" + b"A: b\r\n" * 100_000 + b"\r\n" + END,
    "header name": b"--b\r\n" + b"A" * 10**6 + b": x\r\n\r\ny\r\n" + END, "header value": b"--b\r\nA: " + b"x" * 10**6 + b"\r\n\r\ny\r\n" + END,
    "parameters": b"--b\r\nContent-Disposition: form-data" + b'; a="b"' * 500 + b"\r\n\r\ny\r\n" + END,
    "quoted": b'--b\r\nContent-Disposition: form-data; name="' + b'\\"' * 1_900 + b"\r\n\r\ny\r\n" + END, "before": b"x" * 30_000_000 + PURPOSE + FILE + END,
    "no end": PURPOSE + OPEN_FILE + b"x" * 30_000_000,
}  # fmt: skip
"""Forms that are refused."""
SLOW = {
    "empty lines before": b"\r\n" * 15_000_000 + PURPOSE + FILE + END, "behind the end": PURPOSE + FILE + END + b"x" * 30_000_000,
    "almost boundaries": PURPOSE + OPEN_FILE + b"\r\n--a" * 6_000_000 + b"\r\n" + END, "returns": PURPOSE + OPEN_FILE + b"\r" * 30_000_000 + b"\r\n" + END,
    "dashes": PURPOSE + OPEN_FILE + b"\r\n--" * 7_000_000 + b"\r\n" + END,
}  # fmt: skip
"""Forms that are right, and hard to read."""
RANGES = [
    "bytes=" + ",".join(["0-"] * 10_000), "bytes=" + ",".join(f"{n}-{n}" for n in range(9_000)), "bytes=" + "0-0," * 15_000, "bytes=0-" + "9" * 5_000,
    "bytes=-" + "9" * 5_000, "bytes=0-0;" * 5_000, "bytes=" * 9_000,
]  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS)
def test_a10_a_flood_in_a_form_is_refused_at_once_and_leaves_nothing(alone: Alone, flood: str) -> None:
    root = alone.api.stack.context.blobs.root
    before = {path for path in root.rglob("*") if path.is_file()}
    with Grown(alone.process) as grown, within(10):
        must_be_sound(alone.api.http.post(UPLOADS, content=FLOODS[flood], headers=FORM), refused=True)
    assert grown.mib < 40
    assert {path for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("form", SLOW)
def test_a10_a_form_that_is_hard_to_read_is_read_in_time_and_in_little_memory(alone: Alone, form: str) -> None:
    with Grown(alone.process) as grown, within(15):
        response = alone.api.http.post(UPLOADS, content=SLOW[form], headers=FORM)
    assert response.status_code == 200, response.text
    assert grown.mib < 40
    assert alone.api.http.delete(f"{UPLOADS}/{response.json()['id']}").status_code == 200


@pytest.mark.parametrize("path", [UPLOADS, *sorted(BODIES)])
def test_a10_a_form_is_not_even_parsed_where_json_is_read(alone: Alone, path: str) -> None:
    method = (
        "POST"
        if path == UPLOADS
        else next(one.method for one in routes(alone.api) if one.path == path and one.takes_json)
    )
    where = path.replace("{", "").replace("}", "")
    with Grown(alone.process) as grown, within(10):
        for content, headers in (
            (b"a=b&" * 900_000, URLENCODED),
            (b"a[b][c]=1&" * 300_000, URLENCODED),
            (FLOODS["parts"][: 3 * MIB], FORM),
        ):
            response = alone.api.http.request(method, where, content=content, headers=headers)
            must_be_sound(response, refused=True)
            assert response.status_code == 415 or path == UPLOADS
    assert grown.mib < 40


def test_a10_a_form_changed_at_random_is_refused_or_stored_whole(api: Api) -> None:
    chosen = random.Random(10)
    good = PURPOSE + FILE + END
    extras = [
        b"\r\n",
        b"--b",
        b"\0",
        b"--b--",
        b'"',
        b";",
        b"\xff",
        b"filename*=utf-8''%ff%00",
        b"\r",
        b"\n",
        b"; name=file",
        b'; filename="../x"',
    ]
    for _ in range(1_500):
        form = bytearray(good)
        for _ in range(chosen.randint(1, 6)):
            place = chosen.randrange(len(form))
            match chosen.randrange(3):
                case 0:
                    form[place] = chosen.randrange(256)
                case 1:
                    del form[place : place + chosen.randint(1, 8)]
                case _:
                    form[place:place] = chosen.choice(extras)
        response = api.http.post(UPLOADS, content=bytes(form), headers=FORM)
        must_be_sound(response)
        if response.status_code == 200:
            stored = api.http.get(f"{UPLOADS}/{response.json()['id']}/content").content
            assert len(stored) == response.json()["bytes"]
    assert not list(api.stack.context.blobs.root.rglob(".writing-*"))


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300, "multipart/mixed; boundary=b",
    "multipart/form-data; boundary*=utf-8''b", "multipart/form-data; " + "a=b;" * 5_000 + "boundary", "text/plain; boundary=b", 'multipart/form-data; boundary="', ";", ""],
    ids=range(10),
)  # fmt: skip
def test_a10_a_form_without_a_boundary_is_no_form(api: Api, kind: str) -> None:
    with within(5):
        must_be_sound(
            api.http.post(UPLOADS, content=PURPOSE + FILE + END, headers={"Content-Type": kind}), refused=True
        )


def test_a10_a_flood_of_ranges_is_one_answer_and_no_more_than_the_file(alone: Alone) -> None:
    made = alone.api.http.post(
        UPLOADS, data={"purpose": "batch"}, files={"file": ("x", b"0123456789" * 100_000)}
    ).json()
    where = f"{UPLOADS}/{made['id']}/content"
    with Grown(alone.process) as grown:
        for asked in RANGES:
            with within(5):
                response = alone.api.http.get(where, headers={"Range": asked})
            assert response.status_code == 200
            assert len(response.content) == 1_000_000
            assert "multipart" not in response.headers["content-type"]
        for start in range(0, 3_000, 10):
            part = alone.api.http.get(where, headers={"Range": f"bytes={start}-{start}"})
            assert (part.status_code, part.content) == (206, b"0")
    assert grown.mib < 40


NAMES = [
    "../../../etc/passwd", "..", ".", "/", "//", "\\\\server\\share\\x", "C:\\boot.ini", "/dev/zero", "/proc/self/environ", "con", "x\0.jsonl", "\0", "~root/.ssh/id_rsa",
    "$(id)", "`id`", "; rm -rf /", "|x", "-rf", "file://x", "s3://bucket/x", "a" * 5_000, "é" * 400, "\u202egnp.exe", "x\r\nSet-Cookie: a=b", 'x"; filename="y', "%2e%2e%2f",
    ".writing-x", "inputs/" + "0" * 32, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("star", [False, True], ids=["name", "name*"])
def test_a11_a_name_is_a_label_on_the_way_in_and_on_the_way_out(api: Api, name: str, star: bool) -> None:
    raw = name.encode("utf-8", "surrogatepass").replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b'"', b"%22")
    parameter = b"; filename*=utf-8''%s" % raw if star else b'; filename="%s"' % raw
    response = api.http.post(UPLOADS, content=PURPOSE + HEAD % (b"file", parameter, b"{}") + END, headers=FORM)
    must_be_sound(response)
    if response.status_code != 200:
        return
    made = response.json()
    assert made["filename"].isprintable()
    assert 0 < len(made["filename"]) <= 255
    assert not set(made["filename"]) & set("/\\")
    root = api.stack.context.blobs.root
    stored = root / "inputs" / made["id"].removeprefix("file_")
    assert stored.read_bytes() == b"{}"
    assert stored.stat().st_nlink == 1
    assert not any(path.is_symlink() for path in root.rglob("*"))
    sent = api.http.get(f"{UPLOADS}/{made['id']}/content")
    assert "set-cookie" not in sent.headers
    shown = sent.headers["content-disposition"]
    assert shown.startswith("attachment; filename")
    assert shown.isascii()
    assert unquote(shown.rpartition("=")[2].removeprefix("utf-8''").strip('"')) == made["filename"]
    assert sent.headers["x-content-type-options"] == "nosniff"


def test_a10_a11_nothing_is_lost_by_any_of_it(api: Api) -> None:
    assert api.stack.doctor() == []
