"""schemathesis over the API's own document: each operation alone, and one after the other along the document's links.

Answers may hold nothing that the document does not name: the document is closed for the run, so that it cannot fall behind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from orchestrator.requests import CHAT
from tests.stack import ROOT, rows

CONFIG = Path(__file__).with_name("schemathesis.toml")
HEAD = """hooks = "tests.contract.fuzz_hooks"

[auth.wfc]
path = "{path}"
user = "one"
peers = ["one", "other"]

"""
LINKS = re.compile(r"API Links: +(\d+) covered")
NAME = "the-fuzzer"
FREE = "the-free"


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What a run found."""

    told: Mapping[str, Any]
    """schemathesis' own report."""
    output: str

    @property
    def cases(self) -> int:
        """Requests that were made up and sent."""
        return int(self.told["test_cases"]["generated"])

    @property
    def failures(self) -> list[str]:
        """What is wrong, by kind of failure and operation."""
        return [f"{one['code']} {one['title']}: {name}" for one in self.told["failures"] for name in one["operations"]]

    @property
    def errors(self) -> list[Any]:
        """What kept schemathesis from its work."""
        return list(self.told["errors"])

    @property
    def links(self) -> int:
        """Links of the document that were followed."""
        found = LINKS.search(self.output)
        return int(found[1]) if found else 0

    @property
    def accepted(self) -> frozenset[str]:
        """The operations that took a request at least once."""
        rates = self.told["valid_rates"]
        return frozenset(
            name for name, phases in rates.items() if any(phase["accepted"] for phase in phases.values())
        )  # fmt: skip


def fuzz(http: httpx2.Client, folder: Path, *options: str, seed: int = 1) -> Fuzzed:
    """Run it against a served API; `options` go to its command line.

    `http` carries a key of the API's own tenant with every scope. The run has keys of its own, of that tenant and of another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = closed(http.get("/openapi.json").json())
    (folder / "openapi.json").write_text(json.dumps(document), "utf-8")
    own, other = _keys(http)
    (folder / "keys.json").write_text(json.dumps(_users(own["key"], other["key"])), "utf-8")
    head = HEAD.format(path=folder / "keys.json")
    (folder / "schemathesis.toml").write_text(head + CONFIG.read_text("utf-8"), "utf-8")
    report = folder / "report.json"
    command = [
        sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(folder / "schemathesis.toml"), "run",
        str(folder / "openapi.json"), "--url", str(http.base_url), "--seed", str(seed), "--continue-on-failure", "--report", "json",
        "--report-json-path", str(report), *options,
    ]  # fmt: skip
    file, batch = _there(http, own["key"])
    given = {"FUZZ_SPARED": ",".join(_spared(http)), "FUZZ_FILE": file, "FUZZ_BATCH": batch, "FUZZ_PROJECT": FREE}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    output = ran.stdout + ran.stderr
    if not report.is_file():
        raise AssertionError(f"schemathesis ended with {ran.returncode} before it reported:\n{output[-4000:]}")
    return Fuzzed(json.loads(report.read_text("utf-8")), output)


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with no room for fields that it does not name, but where an engine may add its own."""
    for schema in document["components"]["schemas"].values():
        schema.setdefault("additionalProperties", False)
    return document


def _spared(http: httpx2.Client) -> list[str]:
    """Names and ids of the keys and projects that there are by now: the run lives on them."""
    found = [
        one
        for path in ("/v1/keys", "/v1/projects", "/v1/keys?tenant=the-other")
        for one in http.get(path).json()["data"]
    ]
    named = [name for one in found if one["name"] != FREE for name in (one["id"], one["name"])]
    http.post("/v1/projects", json={"name": FREE})
    return named


def _keys(http: httpx2.Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """A key of the API's own tenant, and one of a tenant of its own, each with every scope."""
    http.post("/v1/tenants", json={"name": "the-other"})
    scopes = {"name": NAME, "scopes": ["submit", "read", "admin"]}
    own = http.post("/v1/keys", json=scopes).raise_for_status().json()
    other = http.post("/v1/keys?tenant=the-other", json=scopes).raise_for_status().json()
    return own, other


def _there(http: httpx2.Client, key: str) -> tuple[str, str]:
    """A file with rows, and a batch of it: some of what is made up is asked of them."""
    headers = {"Authorization": f"Bearer {key}"}
    content = b"".join(orjson.dumps(line) + b"\n" for line in rows(20))
    form = {"data": {"purpose": "batch"}, "files": {"file": ("rows.jsonl", content)}}
    file = http.post("/v1/files", headers=headers, **form).raise_for_status().json()["id"]
    asked = {"input_file_id": file, "endpoint": CHAT}
    return file, http.post("/v1/batches", headers=headers, json=asked).raise_for_status().json()["id"]


def _users(one: str, other: str) -> dict[str, Any]:
    """Two users in the form of Web Fuzzing Commons."""
    return {
        "auth": [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
            for name, key in (("one", one), ("other", other))
        ]
    }
