"""Processes apart, in which documents are read: what they may take, see and do, and what goes to them and back. `pool.Pool` is the way in."""
