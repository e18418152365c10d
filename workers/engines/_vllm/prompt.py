"""From an OpenAI body to what vLLM's engine takes: token ids, with pictures beside them.

Text is put into the model's chat template and tokenised here, without vLLM's own renderer: that saves a third of a
millisecond a request. Messages with pictures or sound go through the renderer, which knows each model's placeholders.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from workers.engines.base import bad_request

NO_TEMPLATE: Final = "This model has no chat template. Use /v1/completions, take an instruct model, or put a chat_template.jinja beside its weights."
MEDIA: Final = frozenset({"image_url", "input_audio"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, ready for the engine."""

    tokens: list[int]
    engine_input: Any
    """What `AsyncLLM.generate` takes."""


class Prompts:
    """Makes prompts for one loaded model."""

    def __init__(self, tokenizer: Any, renderer: Any, *, sees: bool, hears: bool) -> None:
        from vllm.inputs import tokens_input

        self.tokenizer = tokenizer
        self._renderer = renderer
        self._tokens_input = tokens_input
        self._sees, self._hears = sees, hears
        marks = sorted({*tokenizer.all_special_tokens, *getattr(tokenizer, "get_added_vocab", dict)()}, key=len)
        named = getattr(tokenizer, "added_tokens_decoder", None) or {}
        special = {*tokenizer.all_special_tokens, *(str(one) for one in named.values() if one.special)}
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._marks = re.compile("|".join(map(re.escape, reversed(marks)))) if marks else None

    @property
    def has_template(self) -> bool:
        """Whether the model can chat."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def opens(self, mark: str) -> bool:
        """Whether the model's own template ends the prompt with a mark, so that its answer begins within a thought."""
        return self.has_template and _ends_with(self._apply([{"role": "user", "content": "Hello"}], None), mark)

    async def chat(self, body: dict[str, Any], begin: str) -> Prompt:
        """The prompt of a chat, with `begin` as the first words of the answer; raises EngineFault for what the model cannot take."""
        messages = [dict(message) for message in body["messages"]]
        kinds = {part.get("type") for m in messages if isinstance(m.get("content"), list) for part in m["content"]}
        if kinds - {"text"}:
            return await self._media(messages, kinds, body, begin)
        for message in messages:
            if isinstance(message.get("content"), list):
                message["content"] = "\n".join(part.get("text", "") for part in message["content"])
        return self.of(self._templated(messages, body.get("tools"), begin))

    def of(self, tokens: list[int]) -> Prompt:
        """A prompt of tokens."""
        return Prompt(tokens, self._tokens_input(tokens))

    def plain(self, text: str) -> Prompt:
        """The prompt of a completion: the text as it is, without meaning for marks of the template in it."""
        return self.of(
            self.tokenizer.encode(text, split_special_tokens=True) if self._marked(text) else self.encode(text)
        )

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, as the tokenizer makes them for a prompt."""
        tokens: list[int] = self.tokenizer.encode(text)
        return tokens

    def words(self, text: str) -> list[int]:
        """The tokens of a text that goes on, without a beginning mark."""
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def _marked(self, text: str) -> bool:
        return self._marks is not None and self._marks.search(text) is not None

    def _templated(self, messages: list[dict[str, Any]], tools: object, begin: str) -> list[int]:
        """The tokens of messages in the template. Marks of the template that stand in a message mean nothing there."""
        held: dict[str, str] = {}
        for message in messages:
            content = message.get("content")
            if isinstance(content, str) and self._marked(content):
                held[key := f"{secrets.token_hex(16)}"] = content
                message["content"] = key
        text = self._apply(messages, tools)
        text += "" if _ends_with(text, begin) else begin
        if not held:
            return self.words(text)
        tokens: list[int] = []
        for piece in re.split("(" + "|".join(held) + ")", text):
            said = held.get(piece)
            tokens += (
                self.words(piece)
                if said is None
                else self.tokenizer.encode(said, add_special_tokens=False, split_special_tokens=True)
            )
        return tokens

    def _apply(self, messages: Sequence[dict[str, Any]], tools: object) -> str:
        if not self.has_template:
            raise bad_request(NO_TEMPLATE, "no_chat_template")
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            raise bad_request(f"The model's chat template refuses these messages: {str(error)[:300]}") from None
        return text

    async def _media(self, messages: list[dict[str, Any]], kinds: set[str], body: dict[str, Any], begin: str) -> Prompt:
        """A prompt with pictures or sound, which have been checked by `workers.media`."""
        from vllm.renderers import ChatParams

        if "image_url" in kinds and not self._sees:
            raise bad_request("This model takes no pictures. Send the request to a model of tier mllm.", "no_images")
        if "input_audio" in kinds and not self._hears:
            raise bad_request(
                "This model takes no sound. Send the request to a model of tier mllm that does.", "no_audio"
            )
        messages = [self._checked(message) for message in messages]
        options = {"add_generation_prompt": True, "tools": body.get("tools")}
        try:
            _, (made,) = await self._renderer.render_chat_async([messages], ChatParams(chat_template_kwargs=options))
        except ImportError:
            raise bad_request(
                "vLLM lacks a library that this sound needs. Send it as WAV at the model's own rate (mostly 16 kHz), or install "
                "torchaudio and vLLM's extra `audio` beside it.",
                "bad_audio",
            ) from None
        except Exception as error:
            raise bad_request(f"The model cannot take these messages: {str(error)[:300]}") from None
        if begin and not _ends_with(self.tokenizer.decode(made["prompt_token_ids"][-16:]), begin):
            made["prompt_token_ids"] = [*made["prompt_token_ids"], *self.words(begin)]
        return Prompt(list(made["prompt_token_ids"]), made)

    def _checked(self, message: dict[str, Any]) -> dict[str, Any]:
        """See once more, right before vLLM, that no part is an address; and let no mark of the model in a text make a picture."""
        content = message.get("content")
        if not isinstance(content, list):
            return {**message, "content": self.harmless(content)} if isinstance(content, str) else message
        parts = []
        for part in content:
            kind = part.get("type")
            if kind == "text":
                parts.append({"type": "text", "text": self.harmless(part.get("text", ""))})
                continue
            if kind not in MEDIA or part.keys() != {"type", kind} or not isinstance(part[kind], dict):
                raise bad_request("A part of a message is no text, image_url or input_audio, or holds more than that.")
            if kind == "image_url" and not str(part[kind].get("url", "")).startswith("data:image/"):
                raise bad_request("Pictures must be data URLs (data:image/png;base64,...). Addresses are not fetched.")
            if kind == "input_audio" and not part[kind].get("data"):
                raise bad_request("`input_audio` needs `data`: the sound in base64.")
            parts.append(part)
        return {**message, "content": parts}

    def harmless(self, text: str) -> str:
        """The text, with a space of no width in what would be a control token: vLLM's renderer cannot tell them apart."""
        return self._special.sub(lambda mark: f"{mark[0][0]}\u200b{mark[0][1:]}", text) if self._special else text


def _ends_with(text: str, begin: str) -> bool:
    return bool(begin.strip()) and text.rstrip().endswith(begin.strip())
