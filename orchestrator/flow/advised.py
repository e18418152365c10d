"""What the learned router says of a prompt without a task: read from its folder once it has a rule, and again once that changes.

A process without the libraries that it needs, and an installation without a router, go by the decision tree alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.contracts import Advised
from orchestrator.errors import RightsizeError
from orchestrator.requests import CHAT, Features
from orchestrator.telemetry import log_fault

if TYPE_CHECKING:
    from orchestrator.learned.router import Router

LOOK_EVERY_S: Final = 2.0
MOST_CHARS: Final = 20_000
"""Of a prompt, for the router: what it has learned of is shorter by far."""


@dataclass(slots=True)
class _InUse:
    """A router with the rule that was set for it."""

    router: Router
    costs_usd: list[float]
    threshold: float
    version: str


@dataclass(slots=True)
class Adviser:
    """Asks the router in use; safe to use from several threads."""

    blobs: Path
    _in_use: _InUse | None = None
    _stamp: int = -1
    _looked_at: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, asked: Any, features: Features) -> Advised | None:
        """What the router says of a chat, where nothing but its prompt says where it goes and a router is in use; None otherwise."""
        hints = features.hints
        if (
            features.endpoint != CHAT
            or features.model != "auto"
            or hints.task is not None
            or features.images
            or features.audio
        ):
            return None
        if hints.tier is not None or hints.cascade or self._current() is None:
            return None
        return self.advise(last_text(asked))

    def advise(self, text: str) -> Advised | None:
        """The model that is worth its price for a prompt, with what is expected of each; None where no router is in use."""
        found = self._current()
        if found is None or not text.strip():
            return None
        from orchestrator.learned.router import Rule, choose

        said = found.router.predict([text.strip()[:MOST_CHARS]])
        place = int(choose(said, found.costs_usd, Rule(found.threshold))[0])
        expected = dict(zip(found.router.models, map(float, said[0]), strict=True))
        return Advised(found.router.models[place], expected, found.version)

    def _current(self) -> _InUse | None:
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return self._in_use
        with self._lock:
            self._looked_at = time.monotonic()
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._in_use, self._stamp = self._read() if stamp else None, stamp
        return self._in_use

    def _stamp_now(self) -> int:
        """Of the rule's file: it is written anew with each rule, and a router without one is not in use."""
        try:
            home = self.blobs / "routers" / "default"
            return (home / "rule.json").stat().st_mtime_ns + (home / "current.json").stat().st_mtime_ns
        except OSError:
            return 0

    def _read(self) -> _InUse | None:
        if find_spec("numpy") is None:
            return None
        from orchestrator.learned import router_folder
        from orchestrator.learned.encoder import encoders_of, open_encoder

        try:
            folder, rule = router_folder.current(self.blobs), router_folder.current_rule(self.blobs)
            if folder is None or rule is None:
                return None
            encoder = open_encoder(encoders_of(self.blobs)) if router_folder.needs_encoder(folder) else None
            stored = router_folder.load(folder, encoder)
        except (RightsizeError, KeyError, TypeError, ValueError) as error:
            # The tree goes on without it; `rightsize router show` says what is wrong.
            log_fault("pass_failed", error, step="router")
            return None
        router = stored.router
        threshold = math.inf if rule["threshold"] is None else float(rule["threshold"])
        return _InUse(router, _costs(rule, stored.record, router.models), threshold, folder.name)


def last_text(asked: Mapping[str, Any]) -> str:
    """What the user of a checked chat said last."""
    for message in reversed(asked.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            return "\n".join(str(part.get("text") or "") for part in parts if isinstance(part, Mapping))
    return ""


def _costs(rule: Mapping[str, Any], record: Mapping[str, Any], models: Sequence[str]) -> list[float]:
    """What a job costs on each model; where nobody said, the better of two models counts 1, as it did where the rule was set."""
    costs = rule.get("costs_usd")
    if costs is not None:
        return [float(costs[model]) for model in models]
    best = max(models, key=lambda model: float(record["quality"][model]))
    return [1.0 if model == best else 0.0 for model in models]
