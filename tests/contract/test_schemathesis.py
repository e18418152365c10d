"""The API against its own OpenAPI document, by schemathesis: no server error, nothing that the document does not say.

`RIGHTSIZE_FUZZ_EXAMPLES` makes up more requests of each operation; the bench does so too (`benchmarks/service/`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.conftest import served
from tests.contract.fuzzing import fuzz
from tests.serving import Api

if TYPE_CHECKING:
    from tests.conftest import Servers

EXAMPLES = os.environ.get("RIGHTSIZE_FUZZ_EXAMPLES", "3")
"""Read here, before the environment is cleaned for the tests."""
ALONG = ("files", "batches")
"""Tags whose operations hang on each other most."""
REACHED = {
    "POST /v1/files", "GET /v1/files/{file_id}", "GET /v1/files/{file_id}/content", "DELETE /v1/files/{file_id}", "POST /v1/chat/completions",
    "POST /v1/completions", "POST /v1/embeddings", "POST /v1/classify", "POST /v1/score", "POST /v1/responses", "POST /v1/jobs",
    "GET /v1/jobs/{job_id}", "GET /v1/models/{name}", "POST /v1/webhook_endpoints", "POST /v1/keys", "PUT /v1/budgets", "PUT /v1/quotas",
}  # fmt: skip
"""Operations that must have taken a request, or the run would show little."""


@pytest.fixture(scope="module")
def alone(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API of its own: what is made up here sets quotas, budgets and much else."""
    with served(servers, tmp_path_factory.mktemp("fuzzed"), "fuzzed", redis=14) as running:
        yield running


@pytest.mark.slow
def test_no_operation_alone_fails_or_says_what_the_document_does_not(alone: Api, tmp_path: Path) -> None:
    found = fuzz(alone.http, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES)
    assert (found.failures, found.errors) == ([], []), found.output
    assert found.told["operations"]["tested"] == found.told["operations"]["total"] > 50
    assert found.cases > 2_000
    assert REACHED - found.accepted == set()


@pytest.mark.slow
def test_nor_do_operations_one_after_the_other_along_the_links(alone: Api, tmp_path: Path) -> None:
    tags = [word for tag in ALONG for word in ("--include-tag", tag)]
    found = fuzz(alone.http, tmp_path, "--phases", "stateful", "--max-examples", EXAMPLES + "0", *tags)
    assert (found.failures, found.errors) == ([], []), found.output
    assert found.cases > 50
    assert found.links > 3
