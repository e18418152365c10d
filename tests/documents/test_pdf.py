"""PDFs: read in a process apart that may die, hang or be stopped at no harm."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.documents.lines import RowOptions, Unfit
from orchestrator.documents.pdf import PdfReader
from orchestrator.documents.rows import rows_of
from orchestrator.media.picture import MAX_IMAGE_PIXELS
from workers.media import picture_of

ENCRYPTED = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>"


def pdf(*pages: str, size: str = "0 0 612 792", trailer: bytes = b"") -> bytes:
    """A small PDF with a text on each page, written by hand."""
    count = len(pages)
    kids = " ".join(f"{3 + 2 * index} 0 R" for index in range(count))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {count} >>"]
    for index, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 20 20 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{size}] /Resources << /Font << /F1 {font} >> >> "
            f"/Contents {4 + 2 * index} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    identity = b"/ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
    out += b"trailer\n<< /Size %d /Root 1 0 R %s %s >>\n" % (len(objects) + 1, identity, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


LONG = "This page has a text layer with enough characters on it."


def row(folder: Path, data: bytes, options: RowOptions | None = None) -> dict[str, Any]:
    (folder / "a.pdf").write_bytes(data)
    (line,) = rows_of(folder / "a.pdf", options)
    return json.loads(line)


def read(reader: PdfReader, path: Path) -> Any:
    with path.open("rb") as stream:
        (draft,) = reader.read(stream, path.name, RowOptions())
    return draft.content


@pytest.fixture
def page(tmp_path) -> Path:
    path = tmp_path / "page.pdf"
    path.write_bytes(pdf(LONG))
    return path


def test_the_text_layer_is_the_question_with_marks_of_pages(tmp_path):
    made = row(tmp_path, pdf(LONG, f"{LONG} Again."), RowOptions(instructions="Sum up."))
    assert made["body"]["messages"] == [
        {"role": "system", "content": "Sum up."},
        {"role": "user", "content": f"[Page 1]\n{LONG}\n\n[Page 2]\n{LONG} Again."},
    ]


def test_a_pdf_without_a_text_layer_goes_as_pictures_of_its_pages(tmp_path):
    (message,) = row(tmp_path, pdf("", "x"))["body"]["messages"]
    text, *pages = message["content"]
    assert text["text"] == "Describe this page."
    assert len(pages) == 2
    for shown in pages:
        head, data = shown["image_url"]["url"].split(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) == 1600


@pytest.mark.parametrize("size", ["0 0 14400 14400", "0 0 1 14400", "0 0 100000000 100000000", "0 0 0 0", "0 0 -5 -5"])
def test_a13_pages_of_any_size_are_drawn_within_bounds_or_refused(tmp_path, size):
    made = row(tmp_path, pdf("", size=size))
    assert "error" in made or len(json.dumps(made)) < 2_000_000


@pytest.mark.parametrize("size", ["0 0 612 792", "0 0 595 842", "0 0 3000 3000", "0 0 300 2400", "0 0 100 100"])
def test_a_page_goes_with_no_more_pixels_than_a_model_gets_and_is_not_scaled_twice(tmp_path, size):
    (message,) = row(tmp_path, pdf("", size=size))["body"]["messages"]
    data = base64.b64decode(message["content"][1]["image_url"]["url"].partition(",")[2])
    width, height = Image.open(io.BytesIO(data)).size
    assert width * height <= MAX_IMAGE_PIXELS
    assert picture_of(data) == ("jpeg", data)


@pytest.mark.parametrize(
    "data, code",
    [
        (b"", "empty_file"),
        (b"not a PDF at all", "unreadable_file"),
        (pdf(LONG)[:60], "unreadable_file"),
        (pdf(LONG, trailer=ENCRYPTED), "password_required"),
        (pdf(*[LONG] * 501), "too_many_pages"),
        (pdf(*[""] * 21), "too_many_pages"),
        (pdf(), "unreadable_file"),
    ],
    ids=["empty", "text", "cut", "locked", "501 pages", "21 scanned pages", "no pages"],
)
def test_a13_what_cannot_be_read_says_why(tmp_path, data, code):
    error = row(tmp_path, data)["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")


def test_a_text_over_the_limit_is_refused_and_never_cut(tmp_path):
    assert row(tmp_path, pdf(LONG, LONG), RowOptions(max_input_chars=60))["error"]["code"] == "text_too_long"


def test_one_process_reads_many_files_and_none_is_left(page):
    with PdfReader() as reader:
        pids = {(read(reader, page), reader.pid)[1] for _ in range(5)}
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_process_starts_where_there_is_no_pdf(tmp_path):
    with PdfReader() as reader:
        assert reader.pid is None


def test_f24_the_process_is_replaced_when_it_died(page):
    with PdfReader() as reader:
        first = read(reader, page)
        pid = reader.pid
        os.kill(pid, signal.SIGKILL)
        assert read(reader, page) == first
        assert reader.pid != pid


def test_f27_a_file_that_hangs_is_an_error_and_the_next_one_is_read(page):
    with PdfReader(timeout_s=2) as reader:
        first = read(reader, page)
        os.kill(reader.pid, signal.SIGSTOP)
        with pytest.raises(Unfit, match="not read within 2 s"):
            read(reader, page)
        assert read(reader, page) == first


def test_a13_the_process_is_bounded_and_sees_no_secrets(page, monkeypatch):
    monkeypatch.setenv("RIGHTSIZE_DATABASE_URL", "postgresql://canary")
    with PdfReader() as reader:
        read(reader, page)
        proc = Path(f"/proc/{reader.pid}")
        limits = (proc / "limits").read_text()
        assert b"canary" not in (proc / "environ").read_bytes()
    (memory,) = (line.split() for line in limits.splitlines() if line.startswith("Max address space"))
    assert memory[3:5] == ["2147483648", "2147483648"]


@pytest.mark.parametrize(
    "answer",
    [
        b"5",
        b"{}",
        b'{"pictures": []}',
        b'{"pictures": ["\\"><script>"]}',
        b'{"text": 5}',
        b'{"error": "no_such_code"}',
        b"garbage",
    ],
)
def test_a13_an_answer_that_breaks_the_form_is_an_error(page, monkeypatch, tmp_path, answer):
    child = tmp_path / "child.py"
    child.write_text(
        "import os, socket\nparent = socket.socket(fileno=0)\nwhile parent.recvmsg(65536, 64)[0]:\n"
        f"    answer = {answer!r}\n    parent.sendall(len(answer).to_bytes(8, 'big') + answer)\n"
    )
    monkeypatch.setattr("orchestrator.documents.pdf._CHILD", child)
    with PdfReader() as reader, pytest.raises(Unfit, match="broken"):
        read(reader, page)


def test_f24_a_process_that_always_dies_over_a_file_gives_one_error(page, monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import os, socket\nsocket.socket(fileno=0).recvmsg(65536, 64)\nos.abort()\n")
    monkeypatch.setattr("orchestrator.documents.pdf._CHILD", child)
    with PdfReader() as reader, pytest.raises(Unfit, match="ended over it"):
        read(reader, page)


def test_the_process_ends_when_its_parent_is_killed(page):
    script = (
        "import sys; from pathlib import Path; from orchestrator.documents.pdf import PdfReader; "
        "from orchestrator.documents.lines import RowOptions\n"
        "with PdfReader() as reader, open(sys.argv[1], 'rb') as stream:\n"
        "    list(reader.read(stream, 'a.pdf', RowOptions()))\n"
        "    print(reader.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(page)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        ended = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([ended], [], [], 10)[0], "the reading process outlived its parent"
        finally:
            os.close(ended)
