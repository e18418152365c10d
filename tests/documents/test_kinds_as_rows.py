"""Documents of every kind as requests: read several at once by the pool, in the order of their names, and in few lines of memory."""

from __future__ import annotations

import base64
import email.message
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont

from orchestrator.documents import ahead
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.rows import RowOptions, rows_of
from tests.documents.readers.made import W, docx, xlsx
from tests.documents.readers.test_sound import tone
from tests.documents.test_pdf import LONG, pdf
from tests.stack import ROOT


def row(path: Path, options: RowOptions | None = None) -> dict[str, Any]:
    (line,) = rows_of(path, options)
    made: dict[str, Any] = json.loads(line)
    return made


def word(text: str) -> bytes:
    return docx(f"<w:p {W}><w:r><w:t>{text}</w:t></w:r></w:p>")


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_office_files_and_pages_of_the_web_are_questions_with_the_instructions_before_them(tmp_path):
    (tmp_path / "a.docx").write_bytes(word("Parcel lost."))
    (tmp_path / "b.html").write_text("<h1>Title</h1><p>Words.</p>")
    made = [json.loads(line) for line in rows_of(tmp_path, RowOptions(instructions="Sum up.", task="triage"))]
    assert [one["custom_id"] for one in made] == ["a.docx", "b.html"]
    assert [one["body"]["messages"] for one in made] == [
        [{"role": "system", "content": "Sum up."}, {"role": "user", "content": text}]
        for text in ("Parcel lost.", "# Title\n\nWords.")
    ]
    assert made[0]["body"]["rightsize"] == {"task": "triage"}


def test_parts_of_a_document_are_marked_with_their_names(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(
        xlsx({
            "Costs": '<row r="1"><c r="A1"><v>5</v></c></row>',
            "Gains": '<row r="1"><c r="A1"><v>7</v></c></row>',
        })
    )  # fmt: skip
    (message,) = row(tmp_path / "a.xlsx")["body"]["messages"]
    assert message["content"].startswith("[Page 1: Costs]\n")
    assert "\n\n[Page 2: Gains]\n" in message["content"]


def scan(text: str) -> Image.Image:
    page = Image.new("RGB", (1000, 500), "white")
    ImageDraw.Draw(page).text((60, 80), text, fill="black", font=ImageFont.load_default(size=48))
    return page


def test_scans_that_are_attached_to_a_mail_are_read_since_they_cannot_be_shown(tmp_path):
    mail, buffer = email.message.EmailMessage(), io.BytesIO()
    mail["Subject"], mail["From"] = "Your invoice", "a@example.com"
    mail.set_content("See the scan.")
    scan("Invoice number 4711").save(buffer, "PDF", resolution=100)
    mail.add_attachment(buffer.getvalue(), maintype="application", subtype="pdf", filename="scan.pdf")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    (message,) = row(tmp_path / "a.eml")["body"]["messages"]
    assert "See the scan." in message["content"]
    assert "[Page 2: scan.pdf]" in message["content"]
    assert "4711" in message["content"]


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_a_sound_goes_as_it_is_with_a_question(tmp_path, kind):
    data = tone(kind)
    (tmp_path / "a.bin").write_bytes(data)
    (message,) = row(tmp_path / "a.bin")["body"]["messages"]
    question, heard = message["content"]
    assert question["text"] == "Transcribe this recording."
    assert heard == {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(data).decode(), "format": kind},
    }
    (message,) = row(tmp_path / "a.bin", RowOptions(instructions="Who speaks?"))["body"]["messages"]
    assert message["content"][0]["text"] == "Who speaks?"
    assert row(tmp_path / "a.bin", RowOptions(endpoint="/v1/embeddings"))["error"]["code"] == "unsupported_file"


def test_a_sound_that_no_row_could_hold_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(tone("wav"))
    assert row(tmp_path / "a.wav", RowOptions(max_row_bytes=40_000))["error"]["code"] == "file_too_large"


def test_a_document_without_a_word_says_so(tmp_path):
    (tmp_path / "a.docx").write_bytes(word(" "))
    error = row(tmp_path / "a.docx")["error"]
    assert error["code"] == "empty_file"
    assert "Save it as PDF" in error["message"]


def test_rows_come_in_the_order_of_the_files_whichever_is_read_first(tmp_path):
    for number in range(40):
        kind = ("txt", "docx", "csv", "pdf", "png", "html")[number % 6]
        path = tmp_path / f"{number:02}.{kind}"
        if kind == "docx":
            path.write_bytes(word(f"Number {number}"))
        elif kind == "pdf":
            path.write_bytes(pdf(*[f"{LONG} Number {number}"] * (1 + number % 3)))
        elif kind == "png":
            Image.new("L", (8, 8)).save(path)
        else:
            path.write_text({"txt": "Number", "csv": "text\nNumber\n", "html": "<p>Number</p>"}[kind])
    made = [json.loads(line)["custom_id"].partition("#")[0] for line in rows_of(tmp_path)]
    assert made == sorted(path.name for path in tmp_path.iterdir())


def test_documents_are_read_several_at_once_and_no_further_ahead_than_a_few(tmp_path, monkeypatch):
    for number in range(60):
        (tmp_path / f"{number:02}.html").write_text(f"<p>Number {number}</p>")
    together, most, lock = [0], [0], threading.Lock()
    begun: list[str] = []
    read = Pool.read

    def slowly(self: Pool, stream: Any, name: str, limits: Any = None) -> Any:
        with lock:
            begun.append(name)
            together[0] += 1
            most[0] = max(most[0], together[0])
        try:
            time.sleep(0.02)
            return read(self, stream, name, limits)
        finally:
            with lock:
                together[0] -= 1

    monkeypatch.setattr(Pool, "read", slowly)
    lines = rows_of(tmp_path)
    next(lines)
    time.sleep(0.5)
    cores = len(os.sched_getaffinity(0))
    assert len(begun) <= ahead.AHEAD * cores + 2
    assert len(list(lines)) == 59
    assert most[0] == min(cores, 60)


def test_large_files_wait_on_the_disk_until_their_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD_BYTES", 200_000)
    begun: list[str] = []
    read = Pool.read
    monkeypatch.setattr(
        Pool, "read", lambda self, stream, name, limits: (begun.append(name), read(self, stream, name, limits))[1]
    )
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text("word " * 30_000)
    lines = rows_of(tmp_path)
    next(lines)
    time.sleep(0.3)
    assert len(begun) <= 3
    assert len(list(lines)) == 9


def test_no_process_starts_where_no_document_needs_one_and_none_is_left(tmp_path):
    before = children()
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.csv").write_text("text\nx\n")
    Image.new("L", (8, 8)).save(tmp_path / "c.png")
    lines = rows_of(tmp_path)
    next(lines)
    assert len(list(lines)) == 2
    assert children() == before
    for number in range(30):
        (tmp_path / f"{number}.docx").write_bytes(word("x"))
    lines = rows_of(tmp_path)
    next(lines)
    assert children() > before
    lines.close()  # type: ignore[attr-defined]
    assert children() == before


BASE = """
import sys

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Refuses())
"""
EXTRA = frozenset({
    "PIL", "charset_normalizer", "cv2", "lxml", "numpy", "onnxruntime", "pypdfium2", "pypdfium2_raw", "python_calamine", "rapidocr",
    "selectolax",
})  # fmt: skip


def test_without_the_extra_texts_tables_rows_pictures_and_sounds_are_read_and_the_rest_says_what_to_install(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/sitecustomize.py").write_text(BASE % (set(EXTRA),))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    (folder / "b.txt").write_bytes("Grüße".encode("utf-16"))
    (folder / "c.txt").write_text("word " * 30_000)
    (folder / "d.md").write_text("# Title")
    (folder / "e.csv").write_text("text\nx\n")
    (folder / "f.jsonl").write_text('"x"\n')
    (folder / "g.png").write_bytes((ROOT / "examples/pages/invoice-01.png").read_bytes())
    (folder / "h.wav").write_bytes(tone("wav"))
    (folder / "i.json").write_text('{"a": 1}')
    (folder / "j.pdf").write_bytes(pdf(LONG))
    (folder / "k.docx").write_bytes(word("x"))
    script = (
        "import sys; from pathlib import Path; from orchestrator.documents.rows import rows_of\n"
        "for line in rows_of(Path(sys.argv[1])): sys.stdout.buffer.write(line + b'\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'base'}{os.pathsep}{ROOT}"},
        capture_output=True,
        check=True,
    )
    made = {one["custom_id"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert {name: one["error"]["code"] for name, one in made.items() if "error" in one} == dict.fromkeys(
        ["j.pdf", "k.docx"], "missing_extra"
    )
    assert len(made) == 11
    assert "pip install 'rightsize[documents]'" in made["j.pdf"]["error"]["message"]
