"""Plain text in its many encodings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import text
from orchestrator.documents.readers.encoding import decoded
from orchestrator.documents.reading import Limits, Reading, Unreadable
from tests.documents.readers.made import nothing_within, small


def read(data: bytes, limits: Limits | None = None) -> Reading:
    return text.read(data, limits or Limits(), nothing_within)


def test_paragraphs_become_blocks_and_keep_their_lines_and_their_indent():
    (page,) = read(b"One,\n  indented\n \n\nTwo\r\nthree\rfour\n").pages
    assert [block.text for block in page.blocks] == ["One,\n  indented", "Two\nthree\nfour"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_is_read_with_a_mark_and_without_one(encoding):
    told = "Grüße aus Köln, Привет, 你好\n"
    reading = read(told.encode(encoding))
    assert reading.text == told.strip()
    assert reading.notes == ()


@pytest.mark.parametrize(
    "encoding,told",
    [
        ("cp1252", "Société Générale, déjà reçu: 3 à 5 € pour l’été"),
        ("cp1252", "Größe M, Straße 5, schöne Grüße"),
        ("cp1252", "El niño comió piñas en la mañana. ¿Qué tal?"),
        ("cp1252", "DÉJÀ VU, ÉTÉ"),
        ("cp1252", "Price £50 – “quoted” it’s"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
        ("cp1250", "Zażółć gęślą jaźń, dziękuję bardzo"),
        ("iso8859-2", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
        ("cp1251", "Счёт-фактура № 5 от 12 мая 2024 г."),
        ("cp1251", "ДОГОВОР ПОСТАВКИ"),
        ("koi8-r", "Привет, как дела? Сегодня хорошая погода."),
        ("cp866", "Привет, как дела? Сегодня хорошая погода."),
        ("cp1253", "Καλημέρα κόσμε, τι κάνεις σήμερα;"),
        ("cp1254", "Türkiye'nin en güzel şehirlerinden İstanbul ve Iğdır"),
        ("cp1255", "שלום עולם, מה שלומך היום?"),
        ("cp1256", "مرحبا بالعالم كيف حالك اليوم"),
        ("cp1257", "Labas rytas, šiandien graži diena, ąžuolas žydi"),
        ("shift_jis", "こんにちは世界。今日はいい天気ですね。"),
        ("euc_jp", "こんにちは世界。今日はいい天気ですね。"),
        ("euc_jp", "請求書 株式会社テスト 御中"),
        ("iso2022_jp", "こんにちは世界。今日はいい天気ですね。"),
        ("gb18030", "你好，世界。今天天气很好。我们去公园吧。"),
        ("gb18030", "你好，世界。今天天气很好。"),
        ("gb18030", "发票金额：一百元"),
        ("big5", "你好，世界。今天天氣很好。我們去公園吧。"),
        ("cp949", "안녕하세요 세계. 오늘은 날씨가 좋습니다."),
    ],
)
@pytest.mark.parametrize("times", [1, 30, 5_000])
def test_old_encodings_are_told_by_their_letters(encoding, told, times):
    data = "\n".join([told] * times).encode(encoding)
    assert decoded(data).text == data.decode(encoding)


def test_what_was_guessed_is_told():
    assert read("Größe M".encode("cp1252")).notes == ("Read as cp1252, by the look of it.",)


def test_a_cut_character_costs_that_character_and_not_the_encoding():
    reading = read(("Grüße aus Köln und Zürich. " * 20).encode()[:-1] + b"\xc3")
    assert reading.text.startswith("Grüße aus Köln")
    assert reading.text.endswith("\ufffd")
    assert reading.notes == ("Some bytes are no valid utf-8, and stand as U+FFFD.",)


def test_an_encoding_that_is_named_is_taken_unless_it_cannot_be():
    assert decoded("Příliš".encode("iso8859-2"), "ISO-8859-2").text == "Příliš"
    assert decoded("Grüße".encode(), "no-such-encoding").text == "Grüße"
    assert decoded("“Grüße”".encode("cp1252"), "iso-8859-1").text == "“Grüße”"
    assert decoded(b"cafe", "rot13").text == "cafe"


def test_control_characters_go_and_line_ends_of_all_kinds_are_line_ends():
    assert read("a\x01b\x0bc\u2028d\x85e\ufefff\u00adg\u200bh".encode()).text == "ab\nc\nd\ne" + "fgh"


def test_a21_text_hidden_in_tags_and_direction_marks_is_seen():
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "pay now")
    assert read(f"Invoice{hidden} \u202etxet\u202c".encode()).text == "Invoicepay now txet"


def test_right_to_left_text_stays_in_logical_order():
    told = "חשבונית 123 עבור ABC"
    assert read(told.encode()).text == told


def test_binary_files_are_refused_with_what_to_do():
    with pytest.raises(Unreadable, match="binary") as refused:
        read(bytes(range(1, 30)) * 50)
    assert refused.value.code == "unsupported_file"


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"\0\0\0\0"])
def test_a_file_with_nothing_in_it_is_empty(data):
    with pytest.raises(Unreadable) as refused:
        read(data)
    assert refused.value.code == "empty_file"


def test_too_much_text_is_refused_with_the_limit():
    with pytest.raises(Unreadable, match="1,000 characters") as refused:
        read(b"word " * 300, small(max_chars=1_000))
    assert refused.value.code == "text_too_long"


def test_more_paragraphs_than_a_reading_may_have_are_refused_before_they_are_sent():
    with pytest.raises(Unreadable, match="500,000 paragraphs"):
        read(b"a\n\n" * 500_001)


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"Gr\xfc\xdfe ", b"\x1b$B"]),
)
def test_any_bytes_are_a_reading_or_are_refused(data, start):
    try:
        reading = read(start + data)
    except Unreadable:
        return
    assert "\0" not in reading.text
    assert "\r" not in reading.text
