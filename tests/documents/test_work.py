"""Documents become rows: each input is exactly one line, read only where no result is there, in its order."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.choice import Policy, choose
from orchestrator.documents.inputs import Wanted, inputs_of
from orchestrator.documents.reading import Block, Page, Scan
from orchestrator.documents.work import Documents


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(children=2) as made:
        yield made


def lines(
    pool: Pool, folder: Path, known: Sequence[str] = (), policy: Policy | None = None
) -> tuple[list[dict[str, Any]], Documents]:
    """The rows of a folder."""
    documents = Documents(pool, 2, lambda hashes: {one for one in hashes if one in known}, policy or Policy())
    with tempfile.TemporaryDirectory() as spool:
        found = [json.loads(line) for line in documents.lines(inputs_of(Wanted(str(folder)), Path(spool)))]
        assert list(Path(spool).iterdir()) == []
    return found, documents


def scan(text: str) -> Image.Image:
    """A page with a text drawn on it."""
    page = Image.new("RGB", (1000, 500), "white")
    ImageDraw.Draw(page).text((60, 80), text, fill="black", font=ImageFont.load_default(size=48))
    return page


def test_every_input_is_one_line_whatever_becomes_of_it(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("Hello there.")
    (tmp_path / "deep/b.html").write_text("<h1>Title</h1><p>Words.</p>")
    (tmp_path / "c.txt").write_text("")
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "e.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (tmp_path / "f").symlink_to(tmp_path / "a.txt")
    found, documents = lines(pool, tmp_path)
    assert [line["custom_id"] for line in found] == ["a.txt", "c.txt", "d.pdf", "deep/b.html", "e.doc", "f"]
    assert ["document" if "body" in line else line["error"]["code"] for line in found] == [
        "document", "empty_file", "unreadable_file", "document", "unsupported_file", "not_a_file",
    ]  # fmt: skip
    assert all(line["error"]["message"].count(".") >= 2 for line in found if "error" in line), "cause and remedy"
    assert (documents.counts.found, documents.counts.read, documents.counts.refused) == (6, 2, 4)
    document = found[0]["body"]["document"]
    assert document["hash"] == hashlib.sha256(b"Hello there.").hexdigest()
    assert document["blocks"][0][:3] == [1, "Hello there.", "paragraph"]


def test_what_has_a_result_is_not_read(pool: Pool, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text(f"Document {number}.")
    known = [hashlib.sha256(f"Document {number}.".encode()).hexdigest() for number in range(30) if number != 7]
    found, documents = lines(pool, tmp_path, known)
    assert [line["custom_id"] for line in found if "pages" in line["body"]["document"]] == ["07.txt"]
    assert (documents.counts.reused, documents.counts.read) == (29, 1)


def test_a_scanned_page_of_a_pdf_is_read_from_its_picture_in_a_call_of_its_own(pool: Pool, tmp_path: Path) -> None:
    scan("Invoice number 4711").save(tmp_path / "scan.pdf", "PDF", resolution=100)
    (line,), documents = lines(pool, tmp_path)
    document = line["body"]["document"]
    assert document["pages"][0]["source"] == "ocr"
    assert "4711" in document["blocks"][0][1]
    assert document["blocks"][0][4][0] < 0.2
    assert documents.counts.looked_at == 0


def test_a_page_that_needs_eyes_goes_as_a_picture_and_says_why(pool: Pool, tmp_path: Path) -> None:
    scan("Invoice number 4711").save(tmp_path / "scan.pdf", "PDF", resolution=100)
    (line,), documents = lines(pool, tmp_path, policy=Policy(needs_eyes=True))
    document = line["body"]["document"]
    assert document["blocks"] == []
    assert document["pictures"][0][1].startswith("data:image/jpeg;base64,/9j/")
    assert "needs layout" in document["pages"][0]["why"]
    assert documents.counts.looked_at == 1


def test_names_that_are_no_text_and_names_that_repeat_become_ids_of_their_own(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / b"bad\xff.txt".decode("utf-8", "surrogateescape")).write_text("One.")
    (tmp_path / b"bad\xfe.txt".decode("utf-8", "surrogateescape")).write_text("Two.")
    found, _ = lines(pool, tmp_path)
    assert len({line["custom_id"] for line in found}) == 2


@pytest.mark.parametrize(
    "page, policy, look",
    [
        (Page(1, (Block("x"),)), Policy(), False),
        (Page(1, (Block("x"),), "ocr", scan=Scan(10, 0, ink=0.1, confidence=0.98)), Policy(), False),
        (Page(1, (Block("x"),), "ocr", scan=Scan(10, 0, ink=0.1, confidence=0.5)), Policy(), True),
        (Page(1, (Block("x"),), "ocr", scan=Scan(10, 0, ink=0.1, confidence=0.5)), Policy(ocr_confidence=0.4), False),
        (Page(1, (), "none", scan=Scan(10, 0, ink=0.2)), Policy(), True),
        (Page(1, (), "none", scan=Scan(10, 0, ink=0.0)), Policy(), False),
        (Page(1, (Block("x"),), "ocr", scan=Scan(10, 0, ink=0.1, confidence=0.95)), Policy(needs_eyes=True), True),
        (Page(1, (Block("x"),), "text", scan=Scan(10, 0, pictures=0.9)), Policy(needs_eyes=True), True),
    ],
)
def test_a_page_goes_by_how_it_was_read_and_what_its_task_needs(page: Page, policy: Policy, look: bool) -> None:
    chosen = choose(page, policy)
    assert chosen.look is look
    assert chosen.why


def test_a_picture_that_needs_eyes_goes_as_it_is_seen(pool: Pool, tmp_path: Path) -> None:
    pages = [scan("First"), scan("Second")]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "photo.png")
    found, _ = lines(pool, tmp_path, policy=Policy(needs_eyes=True))
    assert [len(line["body"]["document"]["pictures"]) for line in found] == [2, 1]


def test_a_sound_goes_as_it_is_heard(pool: Pool, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "talk.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(16_000))
    ((line,), _) = lines(pool, tmp_path)
    document = line["body"]["document"]
    assert (document["kind"], document["sounds"][0]["format"], document["pages"][0]["why"]) == (
        "wav",
        "wav",
        "it is to be heard",
    )
    assert base64.b64decode(document["sounds"][0]["data"]) == (tmp_path / "talk.wav").read_bytes()


def test_a_scan_within_a_mail_that_cannot_be_read_costs_the_mail_nothing(pool: Pool, tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"] = "Scan"
    mail.set_content("Please see the scan.")
    noise = Image.effect_noise((600, 300), 90).convert("RGB")
    data = io.BytesIO()
    noise.save(data, "PNG")
    mail.add_attachment(data.getvalue(), "image", "png", filename="noise.png")
    (tmp_path / "a.eml").write_bytes(bytes(mail))
    ((line,), _) = lines(pool, tmp_path, policy=Policy(needs_eyes=True))
    document = line["body"]["document"]
    assert document["pictures"] == []
    assert any("Please see the scan." in block[1] for block in document["blocks"])
    assert any("cannot be shown" in page["why"] for page in document["pages"])


def test_a_file_that_changes_while_it_is_read_is_not_answered_under_its_old_name(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("ORIGINAL")

    def changed(hashes: Sequence[str]) -> set[str]:
        del hashes
        path.write_text("TAMPERED")
        return set()

    documents = Documents(pool, 2, changed)
    with tempfile.TemporaryDirectory() as spool:
        (line,) = [json.loads(one) for one in documents.lines(inputs_of(Wanted(str(tmp_path)), Path(spool)))]
    assert "changed while it was read" in line["error"]["message"]


def test_many_rows_of_one_name_have_ids_of_their_own_at_once(pool: Pool) -> None:
    documents = Documents(pool, 2, lambda _: set())
    began = time.process_time()
    found = {documents._unique("same") for _ in range(20_000)}
    assert len(found) == 20_000
    assert time.process_time() - began < 60  # it took minutes
    assert documents._unique("same~2") not in found
