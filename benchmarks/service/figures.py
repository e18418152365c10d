"""A file of figures, such as build/bench/service.json: an arm that is measured anew takes the place of its own older rows only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.report import FOLDER, Row, Scale
from benchmarks.stack import ROOT

Kept = dict[str, Any]
"""A row as the file has it: the figure, its `arm`, when it was `measured_at`, on which `commit`, and how long the arm `took_s`."""
ADDED: Final = frozenset({"arm", "measured_at", "commit", "took_s"})


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of each arm, measured now or before."""

    path: Path
    arms: Sequence[str]
    """In the order in which they are written."""
    rows: dict[str, list[Kept]]

    @classmethod
    def read(cls, scale: Scale, arms: Sequence[str], folder: Path = FOLDER, *, name: str = "service") -> Self:
        """The figures of former runs of this scale. Rows that do not say which arm they are of, and when, are left out."""
        path = folder / f"{name}{'.quick' if scale.quick else ''}.json"
        found: dict[str, list[Kept]] = {}
        for row in json.loads(path.read_text("utf-8")) if path.is_file() else ():
            if set(row) >= ADDED and row["arm"] in arms:
                found.setdefault(row["arm"], []).append(row)
        return cls(path, arms, found)

    def measured(self, arm: str, rows: Sequence[Row], took_s: float) -> None:
        """Put an arm's new rows in the place of its old ones, and write the file."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        added = {"arm": arm, "measured_at": now, "commit": commit(), "took_s": round(took_s)}
        self.rows[arm] = [{**added, **asdict(row)} for row in rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for name in self.arms for row in self.rows.get(name, ())]
        written = self.path.with_suffix(".new")
        written.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        written.replace(self.path)

    def told(self, run: Sequence[str]) -> list[str]:
        """How long each arm took, and which rows are older than this run of some arms or missing."""
        lines = []
        for name in self.arms:
            if not (rows := self.rows.get(name)):
                lines.append(f"{name}: never measured")
                continue
            first = rows[0]
            age = "" if name in run else f"; OLDER: {first['measured_at']}, commit {first['commit']}"
            lines.append(f"{name}: {len(rows)} rows, {first['took_s']} s{age}")
        seconds = sum(rows[0]["took_s"] for rows in self.rows.values() if rows)
        return [*lines, f"all of them: {seconds / 60:.1f} minutes"]


def commit() -> str:
    """The commit that is checked out, with a + where files differ from it; "none" outside of a repository."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
