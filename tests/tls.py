"""TLS in front of a server that has none: the embedded PostgreSQL and Valkey are built without it."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

NAME: Final = "localhost"
"""Stands in the certificate; 127.0.0.1 does not."""
SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")
"""How a PostgreSQL client asks for TLS, in the clear; the server answers `S`."""
NO_OPENSSL: Final = "this machine has no openssl command to make certificates with: apt install openssl"


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority, a certificate of its for `localhost`, and another authority."""

    authority: Path
    stranger: Path
    chain: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """Make them anew."""
    if shutil.which("openssl") is None:
        pytest.skip(NO_OPENSSL)
    for name in ("authority", "stranger"):
        _openssl(folder, "req", "-x509", "-nodes", "-days", "2", *_new(name), "-out", f"{name}.pem",
                 "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    _openssl(folder, "req", "-nodes", *_new("server"), "-out", "server.csr")
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
    _openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
             "-set_serial", "7", "-days", "2", "-extfile", "names", "-out", "server.pem")  # fmt: skip
    return Certificates(folder / "authority.pem", folder / "stranger.pem", folder / "server.pem", folder / "server.key")


def _new(name: str) -> list[str]:
    return [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-keyout",
        f"{name}.key",
        "-subj",
        f"/CN={name}",
    ]


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def in_front_of(port: int, certs: Certificates, *, asks_first: bool = False) -> Iterator[int]:
    """A port of the loopback that speaks TLS and passes everything on; `asks_first` as PostgreSQL's clients do."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certs.chain, certs.key)
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):  # raised by the shutdown below
                while True:
                    caller, _ = listening.accept()
                    threads.append(threading.Thread(target=_pass_on, args=(caller, port, context, asks_first, over)))
                    threads[-1].start()

        over = threading.Event()
        threads.append(threading.Thread(target=serve, name="tls"))
        threads[0].start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def _pass_on(
    caller: socket.socket, port: int, context: ssl.SSLContext, asks_first: bool, over: threading.Event
) -> None:
    """One connection, until either side ends it. One thread for both ways: two may not use one TLS object at once."""
    with caller, suppress(OSError):  # who mistrusts us hangs up
        caller.settimeout(10)
        if asks_first:
            assert caller.recv(len(SSL_REQUEST), socket.MSG_WAITALL) == SSL_REQUEST
            caller.sendall(b"S")
        with (
            context.wrap_socket(caller, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", port)) as inner,
        ):
            while not over.is_set():
                readable, _, _ = select.select([outer, inner], [], [], 0.2)
                if inner in readable:
                    if not (data := inner.recv(65536)):
                        return
                    outer.sendall(data)
                if outer in readable:
                    outer.setblocking(False)
                    received = b""
                    with suppress(ssl.SSLWantReadError):
                        while data := outer.recv(65536):
                            received += data
                        if not received:
                            return
                    outer.settimeout(10)
                    inner.sendall(received)
