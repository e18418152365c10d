"""The requests that benchmarks submit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BODY = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Where is my order? I would like to know when it comes."}],
}


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Lines of a batch's input file, as parsed objects."""
    for number in range(count):
        yield {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
