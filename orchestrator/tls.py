"""TLS to Redis: who may vouch for its certificate. Always verified, since a URL alone would leave Celery's part unverified.

kombu takes `rediss://` without further options as "encrypt, and trust anybody" (`kombu/connection.py`, 5.7), redis-py as
"verify"; here both get the same options. PostgreSQL's are in its URL: `sslmode=verify-full&sslrootcert=FILE`.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings


def client_options(settings: Settings) -> dict[str, Any]:
    """What redis-py gets beside the URL; nothing where the URL is not `rediss://`.

    Raises InvalidConfig for a file that is none of certificates, and for options in the URL that two libraries read differently.
    """
    parts = urlsplit(settings.require_redis())
    ca_file = settings.redis_ca_file
    if parts.scheme != "rediss":
        if ca_file is not None:
            raise InvalidConfig(
                "RIGHTSIZE_REDIS_CA_FILE is given, but RIGHTSIZE_REDIS_URL does not begin with rediss://."
            )
        return {}
    if given := [name for name, _ in parse_qsl(parts.query) if name.startswith("ssl_")]:
        raise InvalidConfig(
            f"RIGHTSIZE_REDIS_URL has {given[0]} in it. Leave it out: the certificate is always verified, "
            "against the file that RIGHTSIZE_REDIS_CA_FILE names or the system's."
        )
    options: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(ca_file))
        except OSError as error:  # ssl.SSLError is one
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise InvalidConfig(f"Cannot use RIGHTSIZE_REDIS_CA_FILE {ca_file}: {why}. Give it a PEM file.") from None
        options["ssl_ca_certs"] = str(ca_file)
    return options


def celery_options(settings: Settings) -> dict[str, Any] | None:
    """The same for Celery's `broker_use_ssl`."""
    options = client_options(settings)
    return {**options, "ssl_cert_reqs": ssl.CERT_REQUIRED} if options else None


def untrusted(error: BaseException | None) -> str | None:
    """Why a server's certificate was refused, if that is what an error comes from."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None
