"""A sound is told by its kind and length, and left to a model that hears."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
import soundfile

from orchestrator.documents.readers import sound
from orchestrator.documents.reading import Limits, Reading, Unreadable


def within(data: bytes, name: str) -> Reading:
    raise AssertionError(f"a sound holds no other document, such as {name} of {len(data)} bytes")


def read(data: bytes) -> Reading:
    return sound.read(data, Limits(), within)


def tone(kind: str, seconds: float = 2.5, hz: int = 16_000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.sin(np.arange(int(seconds * hz)) / 9) * 0.3, hz, format=kind)
    return out.getvalue()


@pytest.mark.parametrize("kind, length", [("WAV", "2.5"), ("FLAC", "2.5"), ("MP3", "2.6")])
def test_kind_and_length_are_told_and_the_page_is_left_to_be_heard(kind, length):
    reading = read(tone(kind))
    assert reading.kind == kind.lower()
    assert [(page.number, page.source, page.blocks) for page in reading.pages] == [(1, "none", ())]
    assert reading.notes == (f"A sound of {length} s ({kind}): a model that hears must transcribe it.",)


def test_a_recording_written_as_a_stream_is_as_long_as_what_is_there():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(bytes(16_000 * 3))
    data = bytearray(out.getvalue())
    struct.pack_into("<I", data, data.index(b"data") + 4, 2**32 - 1)
    assert "3.0 s" in read(bytes(data)).notes[0]


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_sound_that_is_too_long_is_refused_by_its_header(kind):
    long = tone(kind, seconds=601, hz=4_000)
    with pytest.raises(Unreadable, match=r"takes 601 s, at most 600 s can be transcribed at once. Split it") as refused:
        read(long)
    assert refused.value.code == "file_too_large"


def test_a_long_mp3_is_not_counted_to_its_end():
    frame = tone("MP3", seconds=20, hz=16_000)
    with pytest.raises(Unreadable, match="Split it"):
        read(frame * 40)


@pytest.mark.parametrize(
    "data, code",
    [
        (b"", "empty_file"),
        (b"OggS" + bytes(60), "unsupported_file"),
        (b"RIFF\x24\0\0\0WAVE", "unreadable_file"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(24), "unreadable_file"),
        (b"fLaC" + bytes(40), "unreadable_file"),
        (b"ID3\x04\0\0\0\0\0\x0a" + bytes(40), "unreadable_file"),
    ],
)
def test_what_is_no_sound_or_broken_gives_one_clear_error(data, code):
    with pytest.raises(Unreadable) as refused:
        read(data)
    assert refused.value.code == code
