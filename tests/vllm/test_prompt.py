"""A thought that begins in the prompt: by the model's own template, or by us, and never twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from workers.engines._vllm.prompt import Prompts

BODY = {"messages": [{"role": "user", "content": "Hello <think>"}]}


@pytest.mark.parametrize("own", ["", "<think>\n", "<think>"])
def test_the_beginning_mark_stands_once_at_the_end_whoever_writes_it(own: str, weights: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(weights)
    tokenizer.chat_template += own
    prompts = Prompts(tokenizer, None, sees=False, hears=False)
    assert prompts.opens("<think>") == bool(own)
    assert not prompts.opens("</think>")
    text = tokenizer.decode(asyncio.run(prompts.chat(dict(BODY), "<think>\n")).tokens)
    assert text.rstrip().endswith("<think>")
    assert text.count("<think>") == 2, text  # the caller's own word, and one mark
