"""What a model answered, as it is recorded."""

from __future__ import annotations

import orjson
import pytest

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from tests.workers.claimed import claimed
from workers import execute


def answered(content: str) -> bytes:
    """An answer of one text, normalised."""
    job = claimed()
    _, wanted = execute.prepare(job)
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
    answer = Answer(body, Usage(input_tokens=1, output_tokens=1), "revision", simulated=False)
    return execute.normalise(job, answer, wanted, 0.1).body or b""


@pytest.mark.parametrize("text", ["C strings end in \\u0000.", "and \\\\u0000 with a backslash"])
def test_a_text_that_spells_an_escaped_nul_is_recorded_as_it_is(text: str) -> None:
    assert orjson.loads(answered(text))["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize("text", ["\0", "a\0b", "\\\0"])
def test_an_answer_with_a_nul_is_refused(text: str) -> None:
    with pytest.raises(EngineFault, match="NUL") as refused:
        answered(text)
    assert refused.value.fault_code == "bad_answer"
