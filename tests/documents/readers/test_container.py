"""Attacks by documents that are ZIP archives of XML, whatever their kind."""

from __future__ import annotations

import http.server
import io
import random
import resource
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator

import pytest

from orchestrator.documents.readers import docx, odt, pptx, xlsx
from orchestrator.documents.readers.container import Container, parsed
from orchestrator.documents.reading import Limits, Reader, Unreadable
from tests.documents.readers import made
from tests.documents.readers.made import nothing_within, small

KINDS: dict[str, tuple[Reader, Callable[[str], bytes], str]] = {
    "docx": (
        docx.read,
        lambda head: made.docx("<w:p><w:r><w:t>&a11;</w:t></w:r></w:p>" if head else "<w:p/>", head=head),
        "word/document.xml",
    ),
    "xlsx": (
        xlsx.read,
        lambda head: made.xlsx({"S": "<row><c><is><t>&a11;</t></is></c></row>" if head else ""}, head=head),
        "xl/workbook.xml",
    ),
    "odt": (
        odt.read,
        lambda head: made.opendocument("text", "<text:p>&a11;</text:p>" if head else "", head=head),
        "content.xml",
    ),
    "ods": (
        xlsx.read,
        lambda head: made.opendocument("spreadsheet", "&a11;" if head else "", head=head),
        "content.xml",
    ),
    "pptx": (pptx.read, lambda head: made.pptx([]), "ppt/presentation.xml"),
}


def packed_at(data: bytes, name: str, content: bytes) -> bytes:
    """A document with one of its parts put in place of another."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        parts = {one: file.read(one) for one in file.namelist()}
    return made.container(parts | {name: content})


@pytest.mark.parametrize("kind", ["docx", "xlsx", "pptx", "odt", "ods"])
def test_a12_a_bomb_is_refused_before_it_is_unpacked(kind):
    reader, make, name = KINDS[kind]
    bomb = packed_at(make(""), name, b"<x>" + b" " * 200_000_000 + b"</x>")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(Unreadable, match=r"bombs|unpacked"):
        reader(bomb, Limits(), nothing_within)
    assert time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("kind", ["docx", "xlsx", "odt", "ods"])
def test_a12_billion_laughs_are_refused(kind):
    reader, make, _ = KINDS[kind]
    started = time.process_time()
    with pytest.raises(Unreadable) as refused:
        reader(make(made.LAUGHS), Limits(), nothing_within)
    assert refused.value.code == "unreadable_file"
    assert time.process_time() - started < 10


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that keeps the paths it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/stolen", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["docx", "xlsx", "odt", "ods"])
def test_a12_entities_open_neither_files_nor_addresses(kind, asked, tmp_path):
    reader, make, _ = KINDS[kind]
    address, paths = asked
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    for target in (secret.as_uri(), address):
        head = made.XXE.format(target=target).replace("ENTITY a ", "ENTITY a11 ")
        try:
            shown = reader(make(head), Limits(), nothing_within).text
        except Unreadable as refused:
            shown = refused.message
        assert "secret" not in shown.replace(str(secret), "")
    assert paths == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-16-le"])
def test_a_document_type_is_refused_in_every_encoding(encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>{made.LAUGHS}<x>&a11;</x>'
    with pytest.raises(Unreadable):
        parsed(text.encode(encoding))


def test_a_document_type_that_comes_from_outside_is_refused(asked):
    address, paths = asked
    with pytest.raises(Unreadable):
        parsed(f'<!DOCTYPE x SYSTEM "{address}"><x/>'.encode())
    assert paths == []


def test_a_part_that_is_larger_than_the_list_says_is_found():
    noise = random.Random(7).randbytes(200_000).hex().encode()
    data = made.container({"a": b"x" * 10, "b": noise})
    lie = data.replace(struct.pack("<I", len(noise)), struct.pack("<I", 4_000))
    assert lie != data
    with pytest.raises(Unreadable, match="larger than its list says"):
        Container(lie, Limits()).check_sizes()
    Container(data, small(max_parts=10)).check_sizes()


def test_sizes_parts_and_ways_of_packing_are_bounded():
    with pytest.raises(Unreadable, match="1 MiB") as refused:
        Container(made.container({"a": bytes(range(256)) * 8192}), small(max_unpacked_bytes=1024 * 1024))
    assert refused.value.code == "file_too_large"
    with pytest.raises(Unreadable, match="10 parts") as refused:
        Container(made.container({f"p{n}": "x" for n in range(11)}), small(max_parts=10))
    assert refused.value.code == "file_too_large"
    Container(
        made.container({f"media/p{n}": "x" for n in range(50)} | {f"_rels/{n}.rels": "x" for n in range(50)}),
        small(max_parts=10),
    )
    with pytest.raises(Unreadable, match="10 parts"):
        Container(made.container({f"media/p{n}": "x" for n in range(250)}), small(max_parts=10))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a", "x" * 1000)
    with pytest.raises(Unreadable, match="no office program"):
        Container(buffer.getvalue(), Limits())


def test_a_locked_archive_needs_a_password():
    data = made.container({"a": "x"})
    at = data.index(b"PK\x01\x02") + 8
    locked = data[:at] + b"\x01\x00" + data[at + 2 :]
    with pytest.raises(Unreadable) as refused:
        Container(locked, Limits())
    assert refused.value.code == "password_required"


def test_relations_stay_within_the_archive():
    links = made.relations(
        {"a": ("x", "../../../etc/passwd"), "b": ("y", "/word/b.xml"), "c": ("z", "http://a.example/")}, outside="c"
    )
    box = Container(made.container({"word/_rels/d.xml.rels": links, "word/d.xml": "<x/>"}), Limits())
    found = box.relations("word/d.xml")
    assert found == {"a": ("x", "../../etc/passwd"), "b": ("y", "word/b.xml")}
    assert box.optional_xml(found["a"][1]) is None
    with pytest.raises(Unreadable, match="missing"):
        box.read(found["a"][1])


def test_xml_in_xml_a_thousand_times_is_refused():
    with pytest.raises(Unreadable, match="broken"):
        parsed(b"<x>" * 10_000 + b"</x>" * 10_000)
