"""The kind and length of a sound by its header: WAV, FLAC and MP3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from orchestrator.media.encoded import Encoded, Read

Kind = Literal["wav", "flac", "mp3"]

MAX_SECONDS: Final = 600
"""vLLM decodes no more of one file."""
TOKENS_A_SECOND: Final = 25
"""One for 40 ms, after Chu et al., "Qwen2-Audio" (2024, arXiv 2407.10759), section 2; Whisper's encoder alone has twice as many."""
RATES: Final = (4_000, 192_000)
"""Samples a second: a file that says 1 would become ten thousand times as large for the model."""
MAX_CHANNELS: Final = 8
MAX_CHUNKS: Final = 1_000

_MPEG_1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an MP3."""

    size: int
    """In bytes, with its header."""
    seconds: float
    bytes_a_second: float


def kind_of(head: bytes) -> Kind | None:
    """What a sound is by its first 12 bytes, or None for what is no WAV, FLAC or MP3."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    return "mp3" if head[:3] == b"ID3" or frame_of(head[:4]) else None


def seconds_of(read: Read, size: int, kind: Kind) -> float | None:
    """The length as the header tells it, or None where it tells none that can be; of an MP3, by the rate of its first frame."""
    if kind == "wav":
        return _wav_seconds(read, size)
    if kind == "flac":
        return _flac_seconds(read)
    place = mp3_start(read)
    frame = frame_of(read(place, 4))
    return max(0, size - place) / frame.bytes_a_second if frame else None


def mp3_seconds(data: bytes, most: float) -> float | None:
    """The length of an MP3 by all its frames, or None without any; counting ends beyond `most`, so that no file takes long."""
    place = mp3_start(lambda at, count: data[at : at + count])
    seconds = 0.0
    while seconds <= most and (frame := frame_of(data[place : place + 4])):
        seconds += frame.seconds
        place += frame.size
    return seconds or None


def tokens_of(seconds: float) -> int:
    """About how many tokens a model reads for so much sound."""
    return round(seconds * TOKENS_A_SECOND)


def seconds_in(encoded: Encoded) -> float:
    """The length of a sound in base64 as its header tells it, within what is taken; 0 where none can be read."""
    kind = kind_of(encoded.read(0, 12))
    found = seconds_of(encoded.read, encoded.size, kind) if kind else None
    return min(found or 0.0, float(MAX_SECONDS))


def mp3_start(read: Read) -> int:
    """Where the first frame is: behind an ID3 tag, if there is one."""
    head = read(0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def frame_of(head: bytes) -> Frame | None:
    """The frame of MPEG layer III that four bytes begin, or None where they begin none (or one of free format)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate, hertz = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != 1 or not 0 < rate < 15 or hertz == 3:
        return None
    bits = (_MPEG_1 if version == 3 else _MPEG_2)[rate] * 1_000
    samples, hz = (1_152 if version == 3 else 576), _HZ[version][hertz]
    return Frame(samples * bits // (8 * hz) + (head[2] >> 1 & 1), samples / hz, bits / 8)


def _wav_seconds(read: Read, size: int) -> float | None:
    place, bytes_a_second = 12, 0
    for _ in range(MAX_CHUNKS):
        head = read(place, 8)
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"fmt ":
            form = read(place + 8, 16)
            channels, hz, block = (int.from_bytes(form[a:b], "little") for a, b in ((2, 4), (4, 8), (12, 14)))
            if len(form) < 16 or not (0 < channels <= MAX_CHANNELS and RATES[0] <= hz <= RATES[1] and block):
                return None
            bytes_a_second = hz * block
        elif head[:4] == b"data":
            # A file that was written as a stream says 2**32 - 1: what is there counts.
            return min(length, size - place - 8) / bytes_a_second if bytes_a_second else None
        place += 8 + length + length % 2
    return None


def _flac_seconds(read: Read) -> float | None:
    head = read(0, 26)
    if len(head) < 26 or head[4] & 0x7F:  # the first block tells of the stream
        return None
    bits = int.from_bytes(head[18:26], "big")
    hz, channels, samples = bits >> 44, (bits >> 41 & 7) + 1, bits & (1 << 36) - 1
    if not RATES[0] <= hz <= RATES[1] or channels > MAX_CHANNELS or not samples:
        return None
    return samples / hz
