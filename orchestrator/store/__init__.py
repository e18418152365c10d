"""All SQL of the project, synchronous. Every query is a named function with one sentence; nothing here commits but session.py."""
