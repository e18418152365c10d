"""Rightsize measured against its targets, beside peers: `python -m benchmarks [NAME ...]`."""
