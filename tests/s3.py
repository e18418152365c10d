"""An S3 server on a port of the loopback, and what S3 shows of a bucket besides its objects."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx2
from moto.server import ThreadedMotoServer

_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it is."""

    port: int

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to use it, in AWS's variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """Make a bucket; returns its name."""
        name = f"bucket-{next(_numbers)}"
        assert httpx2.put(f"{self.endpoint}/{name}").status_code == 200
        return name

    def unfinished(self, bucket: str) -> list[str]:
        """The keys of uploads that are neither completed nor dropped."""
        return re.findall("<Key>(.*?)</Key>", httpx2.get(f"{self.endpoint}/{bucket}", params={"uploads": ""}).text)

    def put(self, bucket: str, key: str) -> None:
        """Put an object there as a stranger would."""
        assert httpx2.put(f"{self.endpoint}/{bucket}/{key}", content=b"strange").status_code == 200


@contextmanager
def serving() -> Iterator[S3Server]:
    """A server for as long as the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield S3Server(server.get_host_and_port()[1])
    finally:
        server.stop()
