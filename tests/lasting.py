"""What several files of a folder share, such as a running instance: it ends with the first test of another folder, and not with the run.

An instance that nobody asks anything still takes a seventh of a core from all tests that come after it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")


class Lasting:
    """What is open, by the folder of its tests and a name."""

    def __init__(self) -> None:
        self._open: dict[tuple[Path, str], tuple[ExitStack, Any]] = {}

    def get(self, folder: Path, name: str, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What `make` gives, made once as long as tests of the folder follow each other."""
        if (folder, name) not in self._open:
            with ExitStack() as opening:
                made = opening.enter_context(make())
                self._open[folder, name] = opening.pop_all(), made
        found: T = self._open[folder, name][1]
        return found

    def end(self, *, but: Path | None = None) -> None:
        """End what is not of a folder, the last that was opened first."""
        for key in [key for key in reversed(self._open) if key[0] != but]:
            self._open.pop(key)[0].close()


LASTING: Final = Lasting()
