"""From the content of an item to the content of a chat's message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.requests import MAX_AUDIO, MAX_IMAGES

DETAILS: Final[Mapping[str, str]] = {"auto": "auto", "low": "low", "high": "high", "original": "high"}
"""How closely a picture is looked at, in the words of a response and of a chat."""


def content_from(content: object, where: str) -> str | list[dict[str, Any]]:
    """The content of a chat's message; `where` is the item's, for the message of an InvalidRequest.

    A single text becomes plain text: every chat template takes that, and not every one takes parts.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _refused(f"`{where}` must be text, or a list of input_text, input_image and input_audio.")
    parts = [_part(part, where) for part in content]
    if not parts:
        return ""
    return str(parts[0]["text"]) if len(parts) == 1 and parts[0]["type"] == "text" else parts


def text_from(content: object, where: str) -> str:
    """The text of a message that a model wrote; raises InvalidRequest for one that is not text alone."""
    made = content_from(content, where)
    if isinstance(made, str):
        return made
    if not all(part["type"] == "text" for part in made):
        raise _refused(f"`{where}`: an assistant's message holds output_text and nothing else.")
    return "".join(part["text"] for part in made)


def check_media(messages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse more pictures or sounds than a chat may have."""
    lists = [message["content"] for message in messages if isinstance(message["content"], list)]
    for kind, most, what in (("image_url", MAX_IMAGES, "images"), ("input_audio", MAX_AUDIO, "sounds")):
        count = sum(part["type"] == kind for parts in lists for part in parts)
        if count > most:
            raise _refused(f"A request may have at most {most} {what}; this one has {count}.")


def _part(part: object, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict):
        if kind in ("input_text", "output_text") and isinstance(part.get("text"), str):
            return {"type": "text", "text": part["text"]}
        if kind == "refusal" and isinstance(part.get("refusal"), str):
            return {"type": "text", "text": part["refusal"]}
        if kind == "input_image":
            return _picture(part, where)
        if kind == "input_audio":
            return _sound(part, where)
    if kind == "input_file":
        raise _refused(
            f"`{where}`: files are not read here. Send their text as input_text, or their pages as input_image."
        )
    raise _refused(
        f"`{where}` has a part that is not input_text, output_text or refusal with its text, input_image or input_audio."
    )


def _picture(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    url, detail = part.get("image_url"), part.get("detail")
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise _refused(
            f"`{where}`: `image_url` must be a data URL (data:image/png;base64,...). Neither addresses nor files are fetched."
        )
    if detail not in (None, *DETAILS):
        raise _refused(f"`{where}`: `detail` must be one of {', '.join(DETAILS)}.")
    return {
        "type": "image_url",
        "image_url": {"url": url} if detail is None else {"url": url, "detail": DETAILS[detail]},
    }


def _sound(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = part.get("input_audio")
    if not isinstance(given, dict) or not isinstance(given.get("data"), str):
        raise _refused(f"`{where}`: `input_audio` needs `data`, the sound in base64, and `format`.")
    return {"type": "input_audio", "input_audio": {key: given[key] for key in ("data", "format") if key in given}}


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="input")
