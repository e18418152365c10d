"""Input files, output files and large bodies: a key, and a place that holds the bytes.

The place is a folder, which several machines may share, or a bucket of any S3-compatible store.
"""

from __future__ import annotations

from orchestrator.blobs.base import PIECE_BYTES, BlobStore, Stored
from orchestrator.blobs.folder import FolderBlobs
from orchestrator.settings import Settings

__all__ = ["PIECE_BYTES", "BlobStore", "FolderBlobs", "Stored", "open_blobs"]


def open_blobs(settings: Settings) -> BlobStore:
    """The place that the settings name; nothing is written or asked yet.

    Raises InvalidConfig for a `blob_url` that names no bucket.
    """
    if settings.blob_url is None:
        return FolderBlobs(settings.blobs)
    from orchestrator.blobs.s3 import S3Blobs

    return S3Blobs(settings.blob_url)
