"""Named points at every commit, publish and file edge, at which a test can kill, stop or delay a process.

Off unless the environment says `RIGHTSIZE_CRASH_AT=<point>:<kill|stop|sleep:SECONDS>[@N]` (the Nth time, the first if not said).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from functools import cache
from itertools import count
from typing import Final

POINTS: Final[Mapping[str, str]] = {
    "submit.before_commit": "a single job is written, and not committed",
    "submit.after_commit": "a single job is committed, and not published",
    "read.between_chunks": "some rows of a batch are committed, and the batch is not open",
    "dispatch.after_commit": "a dispatch is committed, and not published",
    "dispatch.after_publish": "a dispatch is published",
    "claim.before": "a message was taken, and its dispatch is not claimed",
    "claim.after_commit": "a dispatch is claimed, and nothing runs yet",
    "execute.before_perform": "the engine is about to run a request",
    "execute.after_perform": "the engine has answered, and nothing is recorded",
    "record.before_commit": "a group is written, and not committed",
    "record.after_commit": "a group is committed, and nobody has been told",
    "recover.before_commit": "a recovery pass is written, and not committed",
    "machines.before_commit": "the books of a machine's interval are written, and not committed",
    "coalesce.before_commit": "a job has the result that it waited for, or is queued, and that is not committed",
    "reduce.before_commit": "the one answer of a document in pieces is written, and not committed",
    "finish.after_files": "a batch's files are written, and the batch has not ended",
    "forget.after_rows": "some jobs of a document are emptied, and their blobs are still there",
    "forget.after_file": "a file has other bytes, and those of before are still there",
    "upkeep.after_erase": "blobs of files that are gone are deleted, and that is not noted",
    "upkeep.after_drop": "a week's partition is dropped, and the blobs that its rows named are still there",
}


def reached(point: str) -> None:
    """Say that a point was reached; does nothing outside tests."""
    fault = _fault()
    if fault is not None and fault[0] == point and next(_hits) == fault[2]:
        _strike(fault[1])


@cache
def _fault() -> tuple[str, str, int] | None:
    raw = os.environ.get("RIGHTSIZE_CRASH_AT")
    if not raw:
        return None
    point, _, rest = raw.partition(":")
    action, _, nth = rest.partition("@")
    if point not in POINTS:
        raise KeyError(f"RIGHTSIZE_CRASH_AT names {point!r}, which is no crash point. Known: {', '.join(POINTS)}.")
    return point, action, int(nth or 1)


_hits = count(1)


def _strike(action: str) -> None:
    kind, _, seconds = action.partition(":")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "stop":
        # To this very thread: sent to the process, another one might take it while this one runs on.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif kind == "sleep":
        time.sleep(float(seconds))
    else:
        raise KeyError(f"RIGHTSIZE_CRASH_AT asks for {kind!r}; known: kill, stop, sleep:SECONDS.")
