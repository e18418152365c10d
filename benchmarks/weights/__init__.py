"""Weights for tests and demos without a hub, made or fetched once and kept under build/weights."""
