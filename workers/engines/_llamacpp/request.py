"""From an OpenAI body to what llama.cpp is asked, by an allow-list: what is not named here never reaches it.

Each prompt and each of its `n` answers is a request of its own there: llama.cpp counts the tokens of one of several only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from orchestrator.structured import Form, form_of
from workers.engines.base import bad_request
from workers.engines.prompt import count_images, output_limit

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
MAX_CHOICES: Final = 128
MAX_STOPS: Final = 16
MAX_LOGPROBS: Final = 20
_PASSED: Final = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "logit_bias")
_CHAT_PASSED: Final = ("tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs")
_GUIDED: Final = "%llguidance {}"
_NOT_TEXT: Final = frozenset({"role", "type"})
_BREAK: Final = "\u200b"
"""A space of no width: within a control token's text it makes plain text of it."""


class Requests:
    """Makes the requests to one model."""

    def __init__(
        self, name: str, control_tokens: Sequence[str], most_tokens: int, *, raw_prompts: bool, tools: bool
    ) -> None:
        """`raw_prompts` may hold control tokens; `tools` says whether the model's template has a place for them."""
        self._name, self._most_tokens, self._raw_prompts, self._tools = name, most_tokens, raw_prompts, tools
        longest_first = sorted(control_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def of(self, endpoint: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The requests that a body becomes, prompt by prompt; raises EngineFault for what cannot be served."""
        if body.get("min_tokens"):
            raise bad_request(
                "`min_tokens` is not served by llama.cpp. Leave it out, or name another model.", "unsupported_parameter"
            )
        n = body.get("n") or 1
        prompts: list[str | None] = [None] if endpoint == CHAT else [*_prompts(body.get("prompt"))]
        if not isinstance(n, int) or not 1 <= n * len(prompts) <= MAX_CHOICES:
            raise bad_request(
                f"At most {MAX_CHOICES} answers can be asked for at once: lower `n`, or send fewer prompts."
            )
        shared = self._shared(body)
        if endpoint == CHAT:
            shared |= self._chat(body)
        requests = []
        for number in range(n * len(prompts)):
            one = dict(shared)
            prompt = prompts[number // n]
            if prompt is not None:
                one["prompt"] = prompt if self._raw_prompts else self._plain(prompt)
            if body.get("seed") is not None:
                one["seed"] = _seed(body, number)
            requests.append(one)
        return requests

    def on(self, body: dict[str, Any], prompt: str, number: int = 0) -> dict[str, Any]:
        """The completion that goes on from a chat which the model's template wrote: the marks in it mean what they mean."""
        shared = self._shared(body)
        if body.get("logprobs") is True:  # a completion asks for them by a number
            shared["logprobs"] = max(1, shared.pop("top_logprobs", 0))
        if body.get("seed") is not None:
            shared["seed"] = _seed(body, number)
        return {**shared, "prompt": prompt}

    def messages(self, body: dict[str, Any]) -> dict[str, Any]:
        """The messages of a chat, for the model's template alone."""
        return self._chat(body)

    def _shared(self, body: dict[str, Any]) -> dict[str, Any]:
        given = {key: body[key] for key in _PASSED if body.get(key) is not None}
        limit = output_limit(body)
        given["max_tokens"] = self._most_tokens if limit is None else limit
        if body.get("repetition_penalty") is not None:
            given["repeat_penalty"] = body["repetition_penalty"]
        if body.get("stop"):
            given["stop"] = [body["stop"]] if isinstance(body["stop"], str) else list(body["stop"])[:MAX_STOPS]
        if (form := form_of(body)) is not None:
            given["grammar"] = held_to(form)
        return {
            **given,
            "model": self._name,
            "stream": True,
            "stream_options": {"include_usage": True},
            # A line for each batch of the prompt: llama.cpp sees only when it writes that nobody reads any more.
            "return_progress": True,
            "timings_per_token": True,  # how many tokens it is so far: what is cut off is charged by that
            **_logprobs(body),
        }

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad_request("`messages` must be a list of at least one message.")
        if count_images(body):
            raise bad_request("This model takes no pictures. Send the request to a model of tier mllm.", "no_images")
        given = {key: body[key] for key in _CHAT_PASSED if body.get(key) is not None}
        if body.get("tools") and not self._tools:
            if body.get("tool_choice") != "none":
                raise bad_request(
                    "This model's chat template has no place for `tools`. Leave them out, ask for the arguments by "
                    "`response_format`, or name a model that calls functions.",
                    "unsupported_parameter",
                )
            given = {key: value for key, value in given.items() if "tool" not in key}
        return {"messages": self._plain(messages), **self._plain(given)}

    def _plain(self, value: Any) -> Any:
        """The same texts, with what would be read as control tokens made plain text."""
        if isinstance(value, str):
            return self._control.sub(_broken, value) if self._control is not None else value
        if isinstance(value, list):
            return [self._plain(one) for one in value]
        if isinstance(value, dict):
            return {key: one if key in _NOT_TEXT else self._plain(one) for key, one in value.items()}
        return value


def held_to(form: Form) -> str:
    """The grammar of a form; raises EngineFault for one that llama.cpp would drop without a word, and write what comes to mind."""
    grammar = grammar_of(form)
    if grammar.startswith(_GUIDED) and (problem := _problem_of(grammar)):
        raise bad_request(
            f"The engine cannot hold an answer to this form: {problem}. Leave that out of it, or name another model.",
            "unsupported_form",
        )
    return grammar


@lru_cache(maxsize=256)
def _problem_of(grammar: str) -> str:
    """What LLGuidance, which is a part of llama.cpp too, cannot read of a grammar; empty where it can."""
    from llguidance import LLMatcher

    told = str(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar), None))
    return told.partition("\n")[0][:300].rstrip(".")


def grammar_of(form: Form) -> str:
    """A form as a grammar that llama.cpp holds to: its own, or LLGuidance's, whose machines take linear time."""
    match form.kind:
        case "grammar":
            return form.value
        case "choice":
            # Words of a JSON list are words of this language too.
            return f"{_GUIDED}\nstart: " + " | ".join(map(json.dumps, json.loads(form.value))) + "\n"
        case "regex":
            escaped = re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", form.value, flags=re.DOTALL)
            return f"{_GUIDED}\nstart: /{escaped.replace(chr(10), chr(92) + 'n')}/\n"
        case "schema" | "object":
            schema = json.loads(form.value) if form.value else {"type": "object"}
            # Without blanks of its own choosing a small model cannot lose itself in them.
            compact = {**schema, "x-guidance": {"whitespace_flexible": False}}
            return f"{_GUIDED}\nstart: %json {json.dumps(compact)}\n"


def _seed(body: dict[str, Any], number: int) -> int:
    """The seed of one of several answers: they are not to be the same one."""
    return (int(body["seed"]) + number) % (2**32 - 1)  # the last one means any seed to llama.cpp


def _broken(found: re.Match[str]) -> str:
    return found[0][0] + _BREAK + found[0][1:]


def _prompts(given: object) -> list[str]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        return list(given)
    raise bad_request("`prompt` must be text, or a list of texts.")


def _logprobs(body: dict[str, Any]) -> dict[str, Any]:
    asked = body.get("logprobs")
    if asked is None or asked is False:
        return {}
    if asked is True:
        return {"logprobs": True, "top_logprobs": min(int(body.get("top_logprobs") or 0), MAX_LOGPROBS)}
    return {"logprobs": min(int(asked), MAX_LOGPROBS)}
