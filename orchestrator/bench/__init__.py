"""Replays load traces against a running service: when requests come, how long they are, and how long answers take."""
