"""Mails."""

from __future__ import annotations

import contextlib
import email.message
import email.policy
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import mail, text
from orchestrator.documents.reading import Block, Limits, Page, Reading, Unreadable
from tests.documents.readers.made import nothing_within, refused, small


def as_text(data: bytes, name: str) -> Reading:
    return text.read(data, Limits(), as_text)


def read(data: bytes, within=as_text, limits: Limits | None = None) -> Reading:
    return mail.read(data, limits or Limits(), within)


def message(**headers: str) -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    for name, value in ({"From": "Ann <a@a.example>", "To": "b@b.example", "Subject": "Offer"} | headers).items():
        made[name] = value
    return made


def test_headers_come_first_and_the_subject_is_the_title():
    made = message(
        Cc="c@c.example", Date="Fri, 1 Mar 2024 10:00:00 +0100", Subject="Angebot für Köln — " + "sehr " * 20
    )
    made.set_content("Hello,\n\nhere it is.\n")
    reading = read(made.as_bytes())
    assert reading.title == made["Subject"].strip()
    first, *rest = reading.pages[0].blocks
    assert first.text.split("\n") == [
        "From: Ann <a@a.example>", "To: b@b.example", "Cc: c@c.example", "Date: Fri, 01 Mar 2024 10:00:00 +0100",
        f"Subject: {made['Subject'].strip()}",
    ]  # fmt: skip
    assert [block.text for block in rest] == ["Hello,", "here it is."]


def test_a_header_cannot_pass_for_another():
    raw = b"From: a@a.example\nSubject: =?utf-8?q?x=0AFrom=3A_boss=40a.example?=\n\ntext"
    assert read(raw).pages[0].blocks[0].text == "From: a@a.example\nSubject: x From: boss@a.example"


def test_the_plain_text_is_taken_where_it_says_what_the_page_says():
    made = message()
    made.set_content("The price is 5 euros, as agreed.")
    made.add_alternative("<p>The <b>price</b> is 5 euros, as agreed.</p>", subtype="html")
    assert read(made.as_bytes()).pages[0].blocks[1:] == (Block("The price is 5 euros, as agreed."),)


@pytest.mark.parametrize("plain", ["", " \n", "Please view this in HTML.", "[cid:1]"])
def test_the_page_is_taken_where_the_plain_text_only_says_that_there_is_one(plain):
    made = message()
    made.set_content(plain)
    made.add_alternative(
        "<style>p{}</style><h1>Offer</h1><p>" + "The price is five euros. " * 8 + "</p>", subtype="html"
    )
    kinds = [block.kind for block in read(made.as_bytes()).pages[0].blocks]
    assert kinds == ["paragraph", "heading", "paragraph"]


def test_a_footer_that_a_list_added_is_no_form_of_the_text():
    raw = (
        b"Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/html\n\n<p>"
        + b"long text " * 20
        + b"\n--B\nContent-Type: text/plain\n\nSent over a list\n--B--\n"
    )
    assert read(raw).pages[0].blocks[-1].text == "Sent over a list"


def test_what_is_attached_is_a_page_each_named_after_it():
    made = message()
    made.set_content("See below.")
    made.add_attachment("first, Größe", filename="größe.txt")
    made.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="p.png", disposition="inline")

    def within(data: bytes, name: str) -> Reading:
        if name == "p.png":
            return Reading("png", (Page(1, source="none"), Page(2, name="sheet")), notes=("blank",))
        return as_text(data, name)

    reading = read(made.as_bytes(), within)
    assert [(page.number, page.name, page.source) for page in reading.pages] == [
        (1, "", "text"), (2, "größe.txt", "text"), (3, "p.png", "none"), (4, "p.png: sheet", "text"),
    ]  # fmt: skip
    assert reading.pages[1].text == "first, Größe"
    assert reading.notes == ("In the attachment 'p.png': blank",)


def test_an_attachment_that_is_refused_is_told_and_costs_no_more_than_itself():
    made = message()
    made.set_content("See below.")
    made.add_attachment(b"MZ", maintype="application", subtype="x-msdownload", filename="run me.exe")
    reading = read(made.as_bytes(), refused)
    assert len(reading.pages) == 1
    assert reading.notes == ("The attachment 'run me.exe' was not read: Such files are not read. Convert it to PDF.",)


def test_a_mail_within_a_mail_is_read_as_a_mail():
    inner = message(Subject="Inner")
    inner.set_content("Deep text.")
    made = message()
    made.set_content("Forwarded.")
    made.add_attachment(inner)

    def within(data: bytes, name: str) -> Reading:
        assert name.endswith(".eml")
        return read(data, nothing_within)

    reading = read(made.as_bytes(), within)
    assert "Subject: Inner" in reading.pages[1].text
    assert "Deep text." in reading.pages[1].text


def test_broken_charsets_and_encodings_cost_no_mail():
    raw = (
        b"From: =?no-such?q?J=F6rg?= <j@j.example>\nSubject: =?utf-8?b?R3LD?= and =?broken\n"
        b"Content-Type: text/plain; charset=x-unknown\nContent-Transfer-Encoding: base64\n\n!!!not base64!!!"
    )
    first = read(raw).pages[0].blocks[0].text
    assert "Jörg <j@j.example>" in first
    assert "and =?broken" in first
    raw_letters = "Subject: Grüße =?utf-8?q?aus_K=C3=B6ln?= für 5 €\n\nx".encode()
    assert read(raw_letters).title == "Grüße aus Köln für 5 €"
    latin = b"Subject: x\nContent-Type: text/plain; charset=us-ascii\n\nGr\xfc\xdfe aus K\xf6ln"
    assert read(latin).pages[0].blocks[1].text == "Grüße aus Köln"


def test_lines_that_were_broken_to_be_sent_are_joined():
    raw = b"Subject: x\nContent-Type: text/plain; format=flowed\n\nOne long \nparagraph.\nNext.\n-- \nAnn\n"
    assert read(raw).pages[0].blocks[1].text == "One long paragraph.\nNext.\n--\nAnn"


def test_a_page_alone_is_read_and_asks_nobody_for_its_pictures():
    raw = (
        b"Subject: x\nContent-Type: text/html; charset=utf-8\n\n<p>Hi <img src='http://127.0.0.1:9/p.gif' alt='us'></p>"
    )
    assert [block.text for block in read(raw, nothing_within).pages[0].blocks[1:]] == ["Hi", "[Picture: us]"]


def test_ten_thousand_parts_are_read_within_seconds_and_those_over_the_limit_told():
    parts = b"".join(
        b'--B\nContent-Disposition: attachment; filename="f%d.txt"\n\nhello %d\n' % (n, n) for n in range(10_000)
    )
    raw = b"Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n" + parts + b"--B--\n"
    started = time.process_time()
    reading = read(raw)
    assert time.process_time() - started < 30
    assert len(reading.pages) == 1_001
    assert reading.notes == ("9,000 attachments were left out: at most 1,000.",)


def test_ten_thousand_refused_attachments_are_not_ten_thousand_notes():
    part = b"--B\nContent-Disposition: attachment; filename=a%d\n\nx\n"
    raw = b"Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n" + b"".join(part % n for n in range(900))
    notes = read(raw, refused).notes
    assert len(notes) == 51
    assert notes[-1] == "900 attachments in all were not read."


def test_ten_thousand_texts_are_refused():
    raw = b"Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n" + b"--B\n\nhello\n" * 10_000
    with pytest.raises(Unreadable, match="1,000 texts"):
        read(raw)


@pytest.mark.parametrize("depth", [50, 400, 5_000])
def test_parts_nested_deep_are_read_or_refused_within_seconds(depth):
    raw = b"Subject: x\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=B%d\n\n--B%d\n" % (n, n) for n in range(depth)
    )
    started = time.process_time()
    with contextlib.suppress(Unreadable):
        assert "Subject: x" in read(raw + b"Content-Type: text/plain\n\nhi\n").text
    assert time.process_time() - started < 30


def test_headers_made_to_take_long_do_not():
    raw = (
        b"Cc: "
        + b" " * 1_000_000
        + b"x\nTo: "
        + b"(" * 200_000
        + b"\nFrom: "
        + b"=?utf-8?q?" * 20_000
        + b"\nSubject: x\n\ntext"
    )
    started = time.process_time()
    assert read(raw).title == "x"
    assert time.process_time() - started < 30


def test_a_page_made_to_take_long_does_not():
    raw = b"Subject: x\nContent-Type: text/html\n\n<p>seen" + b"<style" * 700_000
    started = time.process_time()
    assert read(raw).title == "x"
    assert time.process_time() - started < 30


def test_the_texts_of_attachments_count_as_text_of_the_mail():
    made = message()
    made.set_content("a")
    made.add_attachment("b" * 900, filename="b.txt")
    made.add_attachment("c" * 900, filename="c.txt")
    with pytest.raises(Unreadable) as problem:
        read(made.as_bytes(), limits=small(max_chars=1_000))
    assert problem.value.code == "text_too_long"


def test_an_encoding_whose_name_holds_a_nul_is_none():
    raw = b"Subject: x\nContent-Type: text/plain; charset=utf\x00-8\n\nHello \xe4\n"
    assert "Hello" in read(raw).pages[0].blocks[-1].text


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400), st.sampled_from([
    b"Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n--B\n", b"From: a\nContent-Type: text/html; charset=", b"Subject: =?",
    b"Subject: x\nContent-Transfer-Encoding: base64\n\n", b"Subject: x\nContent-Type: message/rfc822\n\n",
    b"Subject: x\nContent-Disposition: attachment; filename*=",
]))  # fmt: skip
def test_any_bytes_are_a_reading_or_are_refused(data, start):
    with contextlib.suppress(Unreadable):
        read(start + data, refused)
