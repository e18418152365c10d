"""What to do about a failure: the sentence of its own message that says so, else what is known of its code. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_VERBS: Final = (
    "add allow ask begin call change check choose close compress convert correct crop cut declare delete describe divide drop enter export fill "
    "give grant increase install keep leave let limit list look lower make merge move name open pass pay pick print put raise record reduce "
    "remove rename repair replace report resave resubmit retry rotate run save scan see send serve set shorten show sign split start submit "
    "supply switch take train translate try turn unlock unpack upload use wait write"
)
VERBS: Final = frozenset(_VERBS.split())
"""With which a sentence that tells what to do begins."""
_BEGINS: Final = re.compile(r"(?:(?<=[.!?] )|^)([A-Z][a-z]+)\b|(?<=[:;,] )([a-z]+) (?:it|them|this|that|again)\b")
_AGAIN: Final = "Run these documents again with `rightsize retry`."
_LATER: Final = "Run these documents again with `rightsize retry`, with a longer --deadline."
_ADDRESS: Final = "Correct the address of the model's server in rightsize.toml."
_KEY: Final = "Correct the key for the model's server in rightsize.toml."
_MODEL: Final = "Choose a model that can do this: `rightsize retry --tier`."
_SPLIT: Final = "Split the document, or raise the limit."
_ANEW: Final = "Open it where it was made and save it anew."
_ROW: Final = "Correct the row, and submit it again."
_SERVER: Final = f"Look at the model's server and its log. {_AGAIN}"
_FORM: Final = "Look at the answer as it was said, and make the schema or the instructions plainer; or use a larger model: `rightsize retry --tier`."

REMEDIES: Final[Mapping[str, str]] = {
    "aborted": _AGAIN,
    "answer_too_large": "Ask for a shorter answer, or split the document.",
    "backpressure": _AGAIN,
    "bad_address": _ADDRESS,
    "bad_answer": _FORM,
    "bad_audio": _ANEW,
    "bad_choices": _SERVER,
    "bad_encoding": _SERVER,
    "bad_json": _SERVER,
    "bad_picture": _ANEW,
    "bad_request": "Change the request as the message says, and submit it again.",
    "bad_tool_call": _FORM,
    "bad_usage": _SERVER,
    "batch_cancelled": _AGAIN,
    "batch_expired": _LATER,
    "budget_exhausted": "Raise the cap or the budget, then run these documents again with `rightsize retry`.",
    "cancelled": _AGAIN,
    "connect_timeout": _SERVER,
    "connection_failed": _SERVER,
    "connection_lost": _SERVER,
    "context_length_exceeded": "Split the document, or use a model with a longer context: `rightsize retry --tier`.",
    "cut_stream": _SERVER,
    "deadline": _LATER,
    "deadline_exceeded": _LATER,
    "duplicate_custom_id": "Give each row a `custom_id` of its own.",
    "empty_file": "Give it some content, or leave it out.",
    "engine_closed": _AGAIN,
    "engine_dead": _SERVER,
    "engine_error": _SERVER,
    "file_too_large": _SPLIT,
    "first_byte_timeout": _SERVER,
    "forbidden": _KEY,
    "hang": _SERVER,
    "http_error": _SERVER,
    "internal_error": "Report it with the batch's id: it is a fault of ours. `rightsize doctor` may tell more.",
    "invalid_json_line": _ROW,
    "invalid_request": "Change the request as the message says, and submit it again.",
    "invalid_row": _ROW,
    "invalid_text": _ROW,
    "job_expired": _LATER,
    "malformed_row": _ROW,
    "missing_extra": "Install what reads documents: pip install 'rightsize[documents]'.",
    "model_not_found": "Name a model that stands in rightsize.toml, or add it there.",
    "no_answer": _FORM,
    "no_audio": _MODEL,
    "no_images": _MODEL,
    "no_tool_call": _FORM,
    "no_verdict": _AGAIN,
    "not_a_file": "Submit what it points to.",
    "password_required": "Save the document without its password, or give the password.",
    "rate_limit_exceeded": _AGAIN,
    "redirected": _ADDRESS,
    "request_too_large": _SPLIT,
    "row_too_large": _SPLIT,
    "server_error": _SERVER,
    "text_too_long": _SPLIT,
    "tier_unavailable": "Add a model that can serve these documents, or allow another tier.",
    "timeout": f"{_AGAIN} Where it happens again, split the document.",
    "too_many_pages": _SPLIT,
    "unauthorized": _KEY,
    "unreadable_file": _ANEW,
    "unsupported_endpoint": _MODEL,
    "unsupported_file": "Convert it to PDF, DOCX or text.",
    "worker_lost": _AGAIN,
    "wrong_form": _FORM,
}
UNKNOWN: Final = f"Read the message. {_AGAIN}"


def remedy_of(code: str, message: str) -> str:
    """What to do about a failure."""
    begin = _remedy_at(message)
    if begin is None:
        return REMEDIES.get(code, UNKNOWN)
    remedy = message[begin:].strip()
    return f"{remedy[0].upper()}{remedy[1:]}"


def without_remedy(message: str) -> str:
    """A message's cause alone; all of it where it says nothing of what to do."""
    begin = _remedy_at(message)
    cause = "" if begin is None else message[:begin].rstrip(" :;,")
    return cause or message


def _remedy_at(message: str) -> int | None:
    for found in _BEGINS.finditer(message):
        if (found[1] or found[2]).lower() in VERBS:
            return found.start()
    return None
