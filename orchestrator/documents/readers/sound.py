"""Reads a sound: its kind and length by its header. What is said in it, a model with ears must tell."""

from __future__ import annotations

from typing import Final

from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable
from orchestrator.media import sound

NAMES: Final = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3"}


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """One page without text and a note of the length; raises Unreadable for what is no sound, is broken, or is too long."""
    del limits, within  # its length is bounded by what models take, and nothing lies in it
    if not data:
        raise Unreadable("empty_file", "The sound is empty. Record or save it anew.")
    kind = sound.kind_of(data[:12])
    if kind is None:
        raise Unreadable("unsupported_file", "It is no WAV, FLAC or MP3. Convert it to one of them.")
    seconds = _seconds(data, kind)
    if not seconds:
        raise Unreadable("unreadable_file", f"The {NAMES[kind]} is broken, or holds no sound. Save it anew.")
    if seconds > sound.MAX_SECONDS:
        raise Unreadable(
            "file_too_large",
            f"The sound takes {seconds:,.0f} s, at most {sound.MAX_SECONDS} s can be transcribed at once. Split it.",
        )
    note = f"A sound of {seconds:.1f} s ({NAMES[kind]}): a model that hears must transcribe it."
    return Reading(kind, (Page(1, source="none"),), notes=(note,))


def _seconds(data: bytes, kind: sound.Kind) -> float | None:
    """The length of a sound: of an MP3 by all its frames, since the first one's rate need not be that of the others."""
    if kind == "mp3":
        return sound.mp3_seconds(data, sound.MAX_SECONDS)
    return sound.seconds_of(lambda at, count: data[at : at + count], len(data), kind)
