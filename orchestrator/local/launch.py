"""Starting the detached supervisor, and giving it the lock that makes it the only one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orchestrator
from orchestrator.errors import ServiceUnavailable
from orchestrator.local import folders, logs, state
from orchestrator.local.plan import Plan
from orchestrator.local.state import State

LOG = "supervisor.log"


def launch(data_dir: Path, plan: Plan, lock: int, former: State | None) -> None:
    """Start a supervisor that inherits `lock`, held by the caller, so that two users can never start two.

    The state is written anew first, so that nobody takes a former run's for this one's; the port, the API key and the
    former parts (which the supervisor ends if they still run) are kept in it.
    Raises ServiceUnavailable or InvalidConfig.
    """
    fresh = State(status=state.STARTING, launch=plan.launch)
    if former:
        fresh = replace(former, status=state.STARTING, launch=plan.launch, supervisor=0, error="", error_code="")
    try:
        state.publish(data_dir, fresh)
        log = logs.open_log(data_dir / "logs" / LOG)
    except OSError as error:
        raise folders.not_usable(data_dir, error) from error
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.local.supervisor", str(data_dir), "--lock-fd", str(lock)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
            cwd=Path(plan.config).parent if plan.config else data_dir,
            env=environment(),
        )
        process.communicate(plan.to_json().encode())  # it leaves as soon as it has detached
    finally:
        os.close(log)
    if process.returncode:
        raise ServiceUnavailable(f"The supervisor could not be started. {logs.quoted(data_dir / 'logs' / LOG)}")


def environment() -> dict[str, str]:
    """Our environment, in which Python finds this package, and nothing in the working directory by accident."""
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    root = Path(orchestrator.__file__).resolve().parents[1]
    if root.name not in {"site-packages", "dist-packages"}:
        env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return env
