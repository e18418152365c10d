"""Pictures and sound on their way to an engine: bytes only, checked and bounded before anything is decoded.

What a picture is, its first bytes say, and not the type that the caller declares. Its size is read from the header, and
only then is it decoded, once, on a thread of its own pool. What the engine gets is a plain RGB picture, upright, with one
frame and no more pixels than the model takes, in a part that holds nothing else: no address, no id of a cached picture.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from orchestrator.errors import EngineFault
from orchestrator.media import picture, sound
from orchestrator.media.encoded import reader
from workers.engines.base import EngineLimits, EngineRequest

MIB: Final = 1024 * 1024
MAX_PICTURE_BYTES: Final = 20 * MIB
MAX_SOUND_BYTES: Final = 25 * MIB
MAX_PIXELS: Final = 40_000_000
MAX_SIDE: Final = 16_384
MAX_RATIO: Final = 200
"""Width to height or the other way round: no model takes more."""
MAX_SCANS: Final = 100
"""Of a progressive JPEG: each takes as long as the whole picture."""
LEAST_SIDE: Final = 28
"""Smaller pictures are made larger: many models fail on a side of a pixel or two."""
MEDIA: Final = ("image_url", "input_audio")
_DETAILS: Final = ("auto", "low", "high")

# Few threads: a picture of 40 megapixels takes 160 MB while it is decoded.
_POOL: Final = ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1)), thread_name_prefix="rightsize-media")


def has_media(body: dict[str, Any]) -> bool:
    """Whether a body has parts that are no text."""
    return any(part.get("type") != "text" for part in _parts(body))


async def cleaned(request: EngineRequest, limits: EngineLimits, max_image_pixels: int) -> EngineRequest:
    """The request with clean pictures and sound, and how long its sound is; raises EngineFault for what cannot be sent."""
    kinds = {part.get("type") for part in _parts(request.body)}
    if unknown := kinds - {"text", *MEDIA}:
        raise refused(
            "bad_part",
            f"A part of a message is of type {str(min(unknown, key=str))[:40]!r}. Use text, image_url or input_audio.",
        )
    if "image_url" in kinds and not limits.images:
        raise refused("no_images", "This model takes no pictures. Send the request to a model of tier mllm.")
    if "input_audio" in kinds and not (limits.images or limits.audio):
        raise refused("no_audio", "This model takes no sound. Send the request to a model of tier mllm that does.")
    heard = Decimal(0)
    messages = []
    for message in request.body["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            parts = []
            for part in content:
                clean, seconds = await _clean_part(part, max_image_pixels)
                parts.append(clean)
                heard += seconds
            message = {**message, "content": parts}  # noqa: PLW2901
        messages.append(message)
    return replace(request, body={**request.body, "messages": messages}, audio_seconds=heard)


def refused(code: str, message: str) -> EngineFault:
    """A fault of the request: another attempt would end the same way."""
    return EngineFault(message, code=code, retryable=False, http_status=400)


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content")
        if isinstance(content, list):
            yield from content


async def _clean_part(part: dict[str, Any], max_image_pixels: int) -> tuple[dict[str, Any], Decimal]:
    """One part with nothing in it but what is checked, and the seconds of its sound."""
    if part.get("type") == "text":
        return {"type": "text", "text": str(part.get("text", ""))}, Decimal(0)
    on_thread = asyncio.get_running_loop().run_in_executor
    if part.get("type") == "image_url":
        return await on_thread(_POOL, _clean_picture, part.get("image_url"), max_image_pixels), Decimal(0)
    return await on_thread(_POOL, _clean_sound, part.get("input_audio"))


def _clean_picture(given: Any, max_image_pixels: int) -> dict[str, Any]:
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str) or url[:5].lower() != "data:":
        raise refused(
            "bad_picture", "A picture must be a data URL (data:image/png;base64,...). Addresses are not fetched."
        )
    head, comma, encoded = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise refused("bad_picture", "A picture's data URL must be in base64: data:image/png;base64,...")
    data = _decoded(encoded, MAX_PICTURE_BYTES, "picture")
    kind, clean = picture_of(data, max_image_pixels)
    if clean is not data:
        encoded = base64.b64encode(clean).decode()
    found: dict[str, Any] = {"url": f"data:image/{kind};base64,{encoded}"}
    if given.get("detail") in _DETAILS:
        found["detail"] = given["detail"]
    return {"type": "image_url", "image_url": found}


def picture_of(data: bytes, max_image_pixels: int = picture.MAX_IMAGE_PIXELS) -> tuple[str, bytes]:
    """The kind and bytes that an engine gets of a picture: the same bytes where they are clean already.

    Raises EngineFault for what is no PNG, JPEG, WebP or GIF, is broken, or is larger than the limits above.
    """
    kind = picture.kind_of(data[:12])
    if kind is None:
        raise refused("bad_picture", f"{_what(data)} Pictures can be PNG, JPEG, WebP or GIF.")
    size = picture.size_of(reader(data), kind)
    if size is None:
        raise refused("bad_picture", "The header of the picture is broken. Save it anew.")
    _check_size(*size)
    if kind == "jpeg" and data.count(b"\xff\xda") > MAX_SCANS:
        raise refused("bad_picture", f"The JPEG has more than {MAX_SCANS} scans. Save it anew, not progressive.")
    return _decode(data, kind, max_image_pixels)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise refused("bad_picture", "The picture has no pixels. Save it anew.")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        told = f"The picture has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all and {MAX_SIDE:,} a side are read."
        raise refused("picture_too_large", f"{told} Shrink it.")
    if max(width, height) > MAX_RATIO * min(width, height):
        told = f"The picture has {width:,} x {height:,} pixels: one side may be at most {MAX_RATIO} times the other."
        raise refused("bad_picture", f"{told} Cut it into pieces.")


def _decode(data: bytes, kind: picture.Kind, max_image_pixels: int) -> tuple[str, bytes]:
    from workers.pixels import Broken, clean  # Pillow is loaded with the first picture

    try:
        return clean(data, kind, _check_size, max_image_pixels, LEAST_SIDE)
    except Broken as broken:
        raise refused("bad_picture", f"The picture is broken or cut off ({broken}). Save it anew.") from None


def _clean_sound(given: Any) -> tuple[dict[str, Any], Decimal]:
    encoded = given.get("data") if isinstance(given, dict) else None
    if not isinstance(encoded, str):
        raise refused("bad_audio", "`input_audio` needs `data`: the sound in base64. Addresses are not fetched.")
    if encoded[:5].lower() == "data:":
        encoded = encoded.partition(",")[2]
    data = _decoded(encoded, MAX_SOUND_BYTES, "sound")
    kind, seconds = sound_of(data)
    return {"type": "input_audio", "input_audio": {"data": encoded, "format": kind}}, seconds


def sound_of(data: bytes) -> tuple[str, Decimal]:
    """The kind and length in seconds of a sound; raises EngineFault for what is no WAV, FLAC or MP3, or is too long."""
    kind = sound.kind_of(data[:12])
    if kind is None:
        raise refused("bad_audio", f"{_what(data)} Sound can be WAV, FLAC or MP3.")
    measure: Callable[[], float | None] = lambda: (  # noqa: E731
        sound.mp3_seconds(data, sound.MAX_SECONDS) if kind == "mp3" else sound.seconds_of(reader(data), len(data), kind)
    )
    seconds = measure()
    if not seconds:
        raise refused("bad_audio", f"The header of the {kind.upper()} tells no length, or is broken. Save it anew.")
    if seconds > sound.MAX_SECONDS:
        raise refused(
            "audio_too_long", f"The sound is longer than {sound.MAX_SECONDS} s, the most that is taken. Split it."
        )
    return kind, Decimal(seconds).quantize(Decimal("0.001"))


def _decoded(encoded: str, most: int, what: str) -> bytes:
    if len(encoded) > 4 * (most // 3 + 1):
        raise refused(
            f"{'audio' if what == 'sound' else what}_too_large",
            f"A {what} may have at most {most // MIB} MiB. Shrink or split it.",
        )
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise refused(
            f"bad_{'audio' if what == 'sound' else what}",
            f"The {what} is no valid base64. Encode its bytes without line breaks.",
        ) from None


def _what(data: bytes) -> str:
    """What bytes are that came in the wrong place, as far as they tell."""
    if kind := sound.kind_of(data[:12]):
        return f"This is a sound ({kind.upper()}), whatever its name or type says: send it as input_audio."
    if found := picture.kind_of(data[:12]):
        return f"This is a picture ({found.upper()}): send it as image_url."
    for magic, name in ((b"%PDF", "a PDF: submit it as a file"), (b"%!PS", "PostScript"), (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"),
                        (b"<svg", "an SVG"), (b"BM", "a BMP"), (b"PK\3\4", "a ZIP")):  # fmt: skip
        if data.startswith(magic):
            return f"This is {name}."
    return "This is empty." if not data else "These bytes are of no known kind."
