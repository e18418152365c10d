"""The pulse file: touched when a process is ready, and with every pass that succeeds; a health check looks at its age."""

from __future__ import annotations

from orchestrator.settings import Settings


def begin(settings: Settings) -> None:
    """Remove what an earlier process left there: a container that starts again finds its old file, and is not ready."""
    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)


def beat(settings: Settings) -> None:
    """Touch the file that a supervisor or a container asks for, if one does."""
    if settings.ready_file is not None:
        settings.ready_file.touch()
