"""The intake: takes the Celery messages by which other services hand in jobs, and answers them.

`messages.py` reads them, `queue.py` takes them from Redis, `work.py` does what they ask, `producers.py` tells what came of it, and
`process.py` runs it all.
"""

from orchestrator.intake.process import main

__all__ = ["main"]
