"""Where a service is and how we name ourselves there: what can never work is refused before anything is sent."""

from __future__ import annotations

import ssl

import httpx2

from orchestrator.errors import InvalidRequest, Refused, RightsizeError, ServiceUnavailable

LOOKS_LIKE = "It looks like http://127.0.0.1:8000 or https://rightsize.example."


def checked_url(url: str) -> str:
    """The URL of a service without its `/v1`; raises Refused for one that can be none."""
    bare = url.rstrip("/").removesuffix("/v1")
    try:
        parsed = httpx2.URL(bare)
    except (httpx2.InvalidURL, ValueError) as error:
        raise Refused(f"{url!r} is not a URL of a service: {error}. {LOOKS_LIKE}") from error
    if parsed.scheme not in ("http", "https"):
        raise Refused(f"{url!r} is not a URL of a service: it must begin with http:// or https://. {LOOKS_LIKE}")
    if not parsed.host or "%" in parsed.host or parsed.port not in (None, *range(1, 65_536)):
        raise Refused(f"{url!r} is not a URL of a service: its host or port cannot be one. {LOOKS_LIKE}")
    return bare


def checked_key(key: str) -> str:
    """An API key as a header can carry it; raises Refused, without showing it."""
    if not key:
        raise Refused("The API key is empty: `rightsize keys create --name NAME` makes one. Is a variable not set?")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise Refused(
            "The API key holds a blank, a line break or another sign that none has: copy it again, without what is around it."
        )
    return key


def checked_name(key: str) -> str:
    """An idempotency key as a header can carry it; raises InvalidRequest."""
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise InvalidRequest(
            f"An idempotency key must be ASCII text without line breaks, and not {key[:80]!r}: make one of a hash or an id."
        )
    return key


def network_error(url: str, error: httpx2.TransportError) -> RightsizeError:
    """What the network did wrong, in words of ours: Refused where another try cannot mend it."""
    if isinstance(error, httpx2.TimeoutException):
        return ServiceUnavailable(
            f"{url} gave no answer in time. It may be overloaded: try again later.", retry_after_s=0.0
        )
    if isinstance(found := _root(error, ssl.SSLError), ssl.SSLCertVerificationError):
        return Refused(
            f"The certificate of {url} is not trusted ({found.verify_message}). "
            "Is the name in the URL right? For an authority of your own set SSL_CERT_FILE."
        )
    if found is not None and "WRONG_VERSION_NUMBER" in str(found):
        return Refused(f"{url} does not speak TLS. Use http:// in its URL, or the port that serves https.")
    if isinstance(error, httpx2.RemoteProtocolError) and "illegal" in str(error):
        return Refused(f"What answers at {url} is no HTTP server. Is the port right, and should it be https://?")
    return ServiceUnavailable(
        f"{url} does not answer ({error}). Is the service up (`rightsize up`), and is the URL right?", retry_after_s=0.0
    )


def _root(error: BaseException | None, kind: type[ssl.SSLError]) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
