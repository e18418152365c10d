"""Exact bounds, certificates, and the watch over a specialist: pure."""
