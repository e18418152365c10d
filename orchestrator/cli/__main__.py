"""`python -m orchestrator.cli`, as the local supervisor starts its parts."""

from __future__ import annotations

from orchestrator.cli import main

main()
