"""The intake: takes the Celery messages by which other services hand in jobs, and answers them. See `process.py`."""
