"""Fault A14: what stands in for a picture or a sound is bounded by its header, and the engine gets clean bytes or nothing."""

from __future__ import annotations

import asyncio
import base64
import io
import struct
import time
import wave
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from PIL import Image, ImageFile

from orchestrator.contracts import ClaimedJob, Outcome, OutcomeKind, Owner, Usage
from orchestrator.errors import EngineFault
from orchestrator.media import sound
from orchestrator.media.encoded import reader
from tests.workers.engines.build import CHAT, chat, engine
from workers import media
from workers.engines.base import EngineLimits, EngineRequest
from workers.execute import run

SEES = EngineLimits(1, 1000, 1000, streams=True, endpoints=frozenset(), images=True)
BLIND = EngineLimits(1, 1000, 1000, streams=True, endpoints=frozenset())
NOISE = Image.effect_noise((64, 48), 90).convert("RGB")


def saved(kind: str, picture: Image.Image = NOISE, **more: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says a size, and has next to nothing behind it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def wav(seconds: float = 0.5, hz: int = 8_000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(hz)
        out.writeframes(bytes(int(2 * hz * seconds)))
    return buffer.getvalue()


def flac(seconds: float, hz: int = 16_000) -> bytes:
    bits = hz << 44 | 15 << 36 | int(hz * seconds)
    return b"fLaC\x80\0\0\x22" + bytes(10) + bits.to_bytes(8, "big") + bytes(16)


def mp3(frames: int) -> bytes:
    """Frames of silence: MPEG 1, layer III, 128 kbit/s, 44,100 Hz."""
    return b"ID3\x04\0\0\0\0\0\x05extra" + (b"\xff\xfb\x90\x00" + bytes(413)) * frames


def shown(data: bytes | str, declared: str = "image/png", **more: Any) -> dict[str, Any]:
    encoded = data if isinstance(data, str) else f"data:{declared};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": encoded}, **more}


def heard(data: bytes, declared: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": declared}}


def clean(*parts: dict[str, Any], limits: EngineLimits = SEES, most: int = 2_000_000) -> EngineRequest:
    request = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}])
    return asyncio.run(media.cleaned(request, limits, most))


def parts_of(request: EngineRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = request.body["messages"][0]["content"][1:]
    return found


def bytes_of(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["image_url"]["url"].partition(",")[2], validate=True)


def opened(part: dict[str, Any]) -> Image.Image:
    picture = Image.open(io.BytesIO(bytes_of(part)))
    picture.load()
    return picture


def fault(*parts: dict[str, Any], limits: EngineLimits = SEES) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        clean(*parts, limits=limits)
    assert (caught.value.retryable, caught.value.http_status) == (False, 400)
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_clean_picture_goes_on_byte_by_byte(kind: str) -> None:
    data = saved(kind)
    (part,) = parts_of(clean(shown(data, f"image/{kind.lower()}")))
    assert bytes_of(part) == data
    assert part["image_url"]["url"].startswith(f"data:image/{kind.lower()};base64,")


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_webp_and_gif_become_png(kind: str) -> None:
    (part,) = parts_of(clean(shown(saved(kind), f"image/{kind.lower()}")))
    assert (opened(part).format, opened(part).mode, opened(part).size) == ("PNG", "RGB", (64, 48))


def test_several_pictures_keep_their_order_and_text_between_them_stays() -> None:
    colours = ["red", "lime", "blue"]
    given = [shown(saved("PNG", Image.new("RGB", (30, 30), colour))) for colour in colours]
    found = parts_of(clean(given[0], {"type": "text", "text": "and"}, *given[1:]))
    assert [part["type"] for part in found] == ["image_url", "text", "image_url", "image_url"]
    pixels = [opened(part).getpixel((0, 0)) for part in found if part["type"] == "image_url"]
    assert pixels == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_a_part_holds_nothing_but_what_was_checked() -> None:
    given = shown(saved("PNG"), uuid="somebody-else's", image_embeds="x")
    given["image_url"] |= {"detail": "low", "path": "/etc/passwd"}
    (part,) = parts_of(clean(given))
    assert part.keys() == {"type", "image_url"}
    assert part["image_url"].keys() == {"url", "detail"}


def test_a_picture_is_what_its_bytes_say_and_not_the_declared_type() -> None:
    (part,) = parts_of(clean(shown(saved("JPEG"), "image/png")))
    assert part["image_url"]["url"].startswith("data:image/jpeg;")


@pytest.mark.parametrize(
    "data, code, words",
    [
        (png_header(50_000, 50_000), "picture_too_large", "50,000 x 50,000"),
        (png_header(20_000, 100), "picture_too_large", "a side"),
        (png_header(8_000, 8_000), "picture_too_large", "Shrink"),
        (png_header(0, 10), "bad_picture", "no pixels"),
        (png_header(10_000, 10), "bad_picture", "200 times"),
        (png_header(100, 100), "bad_picture", "broken or cut off"),
        (saved("PNG")[:400], "bad_picture", "broken or cut off"),
        (saved("JPEG")[:-200], "bad_picture", "broken or cut off"),
        (saved("WEBP", lossless=True)[:-500], "bad_picture", "broken or cut off"),
        (saved("GIF")[:-500], "bad_picture", "broken or cut off"),
        (b"\x89PNG\r\n\x1a\n", "bad_picture", "header"),
        (b"\xff\xd8\xff\xe0", "bad_picture", "header"),
        (b"GIF89a", "bad_picture", "header"),
        (b"RIFF\0\0\0\0WEBP", "bad_picture", "header"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "bad_picture", "PostScript"),
        (saved("TIFF"), "bad_picture", "TIFF"),
        (saved("BMP"), "bad_picture", "BMP"),
        (b"%PDF-1.7\n", "bad_picture", "submit it as a file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "bad_picture", "SVG"),
        (wav(), "bad_picture", "sound (WAV)"),
        (flac(1), "bad_picture", "sound (FLAC)"),
        (mp3(3), "bad_picture", "sound (MP3)"),
        (b"just text", "bad_picture", "no known kind"),
        (b"", "bad_picture", "empty"),
        (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5_000, "bad_picture", "header"),
        (saved("JPEG") + b"\xff\xda" * 200, "bad_picture", "scans"),
    ],
)  # fmt: skip
def test_a14_what_is_no_picture_broken_or_too_large_is_refused_with_a_remedy(
    data: bytes, code: str, words: str
) -> None:
    found = fault(shown(data))
    assert found.fault_code == code
    assert words in found.message


def test_a14_a_bomb_is_refused_before_it_is_decoded() -> None:
    began = time.monotonic()
    fault(*[shown(png_header(50_000, 50_000))] * 20)
    assert time.monotonic() - began < 1


def test_a14_a_gif_whose_first_frame_is_larger_than_its_screen_is_refused() -> None:
    data = bytearray(saved("GIF", Image.new("P", (10, 10))))
    place = data.index(b"\x2c", 13)
    data[place + 5 : place + 9] = struct.pack("<HH", 60_000, 60_000)
    assert "pixels" in fault(shown(bytes(data))).message


def test_a14_truncated_stays_refused_whatever_a_library_beside_us_has_set() -> None:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    assert "cut off" in fault(shown(saved("JPEG")[:-200])).message
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (2, 40), (27, 28)])
def test_a14_a_picture_of_a_pixel_becomes_large_enough_for_a_model(size: tuple[int, int]) -> None:
    (part,) = parts_of(clean(shown(saved("PNG", Image.new("RGB", size, "red")))))
    assert min(opened(part).size) >= media.LEAST_SIDE
    assert opened(part).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a14_of_a_polyglot_only_the_picture_is_left(kind: str) -> None:
    (part,) = parts_of(clean(shown(saved(kind) + b"PK\x03\x04 and a whole archive")))
    assert b"PK\x03\x04" not in bytes_of(part)
    assert opened(part).size == (64, 48)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_a14_of_a_film_the_first_frame_is_seen(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    more = {"lossless": True} if kind == "WEBP" else {}
    data = saved(kind, frames[0], save_all=True, append_images=frames[1:], duration=50, **more)
    (part,) = parts_of(clean(shown(data)))
    assert getattr(opened(part), "n_frames", 1) == 1
    assert opened(part).convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def test_a_picture_that_lies_on_its_side_is_turned() -> None:
    lying = Image.new("RGB", (60, 30), "white")
    lying.paste("black", (0, 0, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    (part,) = parts_of(clean(shown(saved("JPEG", lying, exif=exif))))
    picture = opened(part)
    assert picture.size == (30, 60)
    assert picture.getpixel((15, 5)) < (40, 40, 40)
    assert not picture.getexif().get(0x0112)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_large_picture_is_made_as_small_as_the_model_takes_it(kind: str) -> None:
    (part,) = parts_of(clean(shown(saved(kind, Image.new("RGB", (1_200, 800), "teal"))), most=60_000))
    width, height = opened(part).size
    assert 55_000 < width * height <= 60_000
    assert width / height == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize(
    "picture, expected",
    [
        (Image.new("RGBA", (30, 30), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (30, 30), (0, 255)), (0, 0, 0)),
        (Image.new("L", (30, 30), 200), (200, 200, 200)),
        (Image.new("1", (30, 30), 1), (255, 255, 255)),
        (Image.new("I;16", (30, 30), 32_768), (127, 127, 127)),
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb_and_what_is_transparent_white(picture: Image.Image, expected: tuple[int, ...]) -> None:
    (part,) = parts_of(clean(shown(saved("PNG", picture))))
    assert opened(part).mode == "RGB"
    assert opened(part).getpixel((3, 3)) == expected


def test_a_jpeg_for_print_becomes_rgb() -> None:
    (part,) = parts_of(clean(shown(saved("JPEG", Image.new("CMYK", (40, 40))))))
    assert opened(part).mode == "RGB"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x.png", "https://10.0.0.1/", "file:///etc/passwd", "ftp://x/", "//host/x", "/etc/passwd", "",
        "data:image/png,raw", "data:image/png;base64", "data:image/png;base64,####", "data:image/png;base64,iVBO\nRw0K",
        "data:image/png;base64,iVBORw0KGgo=AAAA", "data:image/png;base64,iVBORw0KGgo",
    ],
)  # fmt: skip
def test_a15_nothing_but_a_strict_data_url_is_looked_at(url: str) -> None:
    assert fault(shown(url)).fault_code == "bad_picture"


@pytest.mark.parametrize(
    "part", [{"type": "video_url", "video_url": {"url": "http://127.0.0.1:9/"}}, {"type": "image_pil"}, {"type": 7}, {}]
)
def test_a15_a_part_of_another_kind_is_refused(part: dict[str, Any]) -> None:
    assert fault(shown(saved("PNG")), part).fault_code == "bad_part"


def test_a_picture_over_the_limit_is_refused_before_its_base64_is_read() -> None:
    assert (
        fault(shown("data:image/png;base64," + "A" * (4 * media.MAX_PICTURE_BYTES // 3 + 100))).fault_code
        == "picture_too_large"
    )


def test_a_model_of_text_gets_no_picture_and_no_sound() -> None:
    assert fault(shown(saved("PNG")), limits=BLIND).fault_code == "no_images"
    assert fault(heard(wav()), limits=BLIND).fault_code == "no_audio"


@pytest.mark.parametrize(
    "data, kind, seconds",
    [
        (wav(0.5), "wav", "0.500"),
        (wav(2, hz=44_100), "wav", "2.000"),
        (wav(1)[:40] + b"\xff\xff\xff\xff" + bytes(16_000), "wav", "1.000"),
        (flac(3.25), "flac", "3.250"),
        (mp3(100), "mp3", "2.612"),
    ],
)
def test_sound_is_what_its_bytes_say_and_its_seconds_are_counted(data: bytes, kind: str, seconds: str) -> None:
    request = clean(heard(data, "ogg"))
    assert parts_of(request)[0]["input_audio"]["format"] == kind
    assert request.audio_seconds == Decimal(seconds)
    header = sound.seconds_of(reader(data), len(data), sound.kind_of(data[:12]) or "wav")
    assert header == pytest.approx(float(seconds), rel=0.02), "the estimate by the header alone"


@pytest.mark.parametrize(
    "data, code, words",
    [
        (saved("PNG"), "bad_audio", "picture (PNG)"),
        (b"OggS" + bytes(40), "bad_audio", "WAV, FLAC or MP3"),
        (wav()[:30], "bad_audio", "Save it anew"),
        (wav(0), "bad_audio", "Save it anew"),
        (flac(0), "bad_audio", "Save it anew"),
        (flac(1, hz=1), "bad_audio", "Save it anew"),
        (b"ID3" + bytes(30), "bad_audio", "Save it anew"),
        (flac(700), "audio_too_long", "Split"),
        (mp3(1) * 2 + (b"\xff\xe3\x10\xc0" + bytes(20)) * 60_000, "audio_too_long", "Split"),
        (b"", "bad_audio", "empty"),
    ],
)  # fmt: skip
def test_a14_what_is_no_sound_or_too_long_is_refused_with_a_remedy(data: bytes, code: str, words: str) -> None:
    if code == "audio_too_long" and data[:3] == b"ID3":
        data = (b"\xff\xfb\x90\x00" + bytes(413)) * 23_100
    found = fault(heard(data))
    assert found.fault_code == code
    assert words in found.message


def test_a_wave_that_says_one_sample_a_second_is_refused() -> None:
    data = bytearray(wav())
    data[24:28] = (1).to_bytes(4, "little")
    assert fault(heard(bytes(data))).fault_code == "bad_audio"


def test_a_body_of_text_is_not_touched() -> None:
    assert not media.has_media(chat().body)
    assert not media.has_media({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})
    assert not media.has_media({"prompt": "x"})
    assert media.has_media({"messages": [{"role": "user", "content": [shown(saved("PNG"))]}]})


def test_decoding_leaves_the_loop_free() -> None:
    data = saved("PNG", Image.effect_noise((3_000, 2_000), 90).convert("RGB"))
    request = chat(messages=[{"role": "user", "content": [shown(data)] * 2}])

    async def main() -> float:
        longest, last = 0.0, time.monotonic()
        task = asyncio.create_task(media.cleaned(request, SEES, 2_000_000))
        while not task.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await task
        return longest

    began = time.monotonic()
    longest = asyncio.run(main())
    assert longest < (time.monotonic() - began) / 2


def ended(*parts: dict[str, Any], **more: Any) -> Outcome:
    """The outcome of a job of the simulated engine, run as a worker runs it."""

    async def main() -> Outcome:
        content = [{"type": "text", "text": "What is it?"}, *parts]
        body = orjson.dumps({"messages": [{"role": "user", "content": content}], **more})
        job = ClaimedJob(
            1, "job_1", Owner(1, 1, 1), 0, 1, 1, "mllm", "eyes", CHAT, None, 1, 1, 1, False, datetime.now(UTC), 30.0, Decimal(1),
            date(2026, 1, 1), body,
        )  # fmt: skip
        subject = engine("simulated", tier="mllm")
        await subject.load()
        return await run(job, subject)

    return asyncio.run(main())


def test_a_job_counts_its_pictures_and_the_seconds_of_its_sound_for_every_sample() -> None:
    outcome = ended(shown(saved("GIF")), heard(wav(2)), heard(wav(0.5)))
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert (outcome.usage.images, outcome.usage.audio_seconds) == (1, Decimal("2.500"))
    thrice = ended(shown(saved("GIF")), heard(wav(2)), rightsize={"samples": 3})
    assert (thrice.usage.images, thrice.usage.audio_seconds) == (3, Decimal("6.000"))


def test_a_job_with_a_bad_picture_fails_for_good_and_says_why() -> None:
    outcome = ended(shown(png_header(50_000, 50_000)))
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.fault is not None
    assert (outcome.fault.code, outcome.fault.http_status) == ("picture_too_large", 400)
    assert outcome.usage == Usage()
