"""The local instance: one supervisor for private servers, orchestrator, API and workers, ended with its last user.

`instance.py` is the user's side. Every user holds a shared lock, which the kernel drops however the user ends; the one
detached supervisor (`supervisor.py`) ends everything as soon as it can take that lock for itself.
"""
