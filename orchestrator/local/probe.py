"""Asking the instance's own API for a status, without an HTTP library: the supervisor starts in a few milliseconds."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


def http_status(port: int, path: str, *, bearer: str = "", timeout_s: float = 1.0) -> int:
    """The status code of a GET, or 0 if no HTTP answer came."""
    key = f"Authorization: Bearer {bearer}\r\n" if bearer else ""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n{key}Connection: close\r\n\r\n"
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s) as connection:
            connection.sendall(request.encode("ascii"))
            head = connection.recv(64).split()
    except OSError:
        return 0
    return int(head[1]) if len(head) > 1 and head[0].startswith(b"HTTP/") and head[1].isdigit() else 0


def is_free(port: int) -> bool:
    """Whether we could listen on that port; 0 never is one."""
    if not port:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
