"""Webhooks, without the database: which addresses may be sent to, signatures, one delivery, its retries, what events say."""
