"""One user of an instance, as a process that can be killed: `user.py DATA_DIR`. It prints a line once it is attached."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from orchestrator.local import instance
from orchestrator.settings import Settings

if __name__ == "__main__":
    with instance.attach(Settings(data_dir=Path(sys.argv[1])), parts=[]) as attached:
        print(attached.state.supervisor, attached.started, flush=True)
        attached.keep(threading.Event())
