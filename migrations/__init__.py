"""Alembic migrations: expand first, contract a release later, so that two releases run at once."""
