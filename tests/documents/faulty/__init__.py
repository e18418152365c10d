"""Readers that do what a broken or hostile document could make a library do; a document says which."""

from tests.documents.faulty import deeds  # now: where it lies, nothing can be opened later

KINDS = {"text": "deeds", "pdf": "deeds", "markdown": "deeds"}

__all__ = ["KINDS", "deeds"]
