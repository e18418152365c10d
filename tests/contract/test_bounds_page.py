"""The bounds on `docs/openai.md` are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator import incoming, requests, structured
from orchestrator.api import batches, forget, jobs, limits, progress, review, schemas, server, webhooks
from orchestrator.api.bodies import _IDEMPOTENCY_KEY
from orchestrator.errors import InvalidRequest
from orchestrator.flow import estimate, reviewing, rows, show
from orchestrator.hints import MOST_SAMPLES, hints_from, window_seconds
from orchestrator.responses import fields as of_responses
from orchestrator.settings import MIB, Settings
from tests.contract.test_openai_page import table

TOLD = {row["bound"]: row for row in table("bound")}
KIB = 1024


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(data_dir=Path("/none"))


def test_bounds_with_a_setting_are_its_default(settings: Settings) -> None:
    named = {row["setting"].strip("`"): row["at most"] for row in TOLD.values() if row["setting"]}
    assert named == {
        "max_request_bytes": f"{settings.max_request_bytes // MIB:,} MiB",
        "max_file_bytes": f"{settings.max_file_bytes // MIB:,} MiB",
        "max_row_bytes": f"{settings.max_row_bytes // MIB:,} MiB",
        "max_batch_rows": f"{settings.max_batch_rows:,}",
        "max_queued_jobs": f"{settings.max_queued_jobs:,}",
        "max_json_depth": f"{settings.max_json_depth}",
        "request_timeout_s": f"{settings.request_timeout_s:g} s",
    }


def test_bounds_without_a_setting_are_the_codes_own(settings: Settings) -> None:
    bounds = limits.Bounds.of(settings)
    told = {name: row["at most"] for name, row in TOLD.items() if not row["setting"]}
    assert told == {
        "rows of a file that is estimated": f"{estimate.MOST_ROWS:,}",
        "arrays and objects in a request": f"{incoming.MOST_NESTED:,}",
        "values in a request": f"{incoming.MOST_VALUES:,}",
        "`wait_s` of a job": f"{show.MOST_WAIT_S:g} s",
        "callers who wait so for jobs, of one API process": f"{jobs.MOST_WAITERS}, and {jobs.MOST_OF_TENANT} of a tenant",
        "followers of batches by their events, of one API process": f"{progress.MOST_FOLLOWERS}, and {progress.MOST_OF_TENANT} of a tenant",
        "estimates asked for at once, of one API process": f"{batches.MOST_ESTIMATES}, and {batches.MOST_OF_TENANT} of a tenant",
        "retries of batches asked for at once, of one API process": f"{batches.MOST_COPIERS}, and {batches.MOST_COPIERS_OF_TENANT} of a tenant",
        "tests of webhook endpoints at once, of one API process": f"{webhooks.MOST_TESTS}, and {webhooks.MOST_TESTS_OF_TENANT} of a tenant",
        "documents that are forgotten at once, of one API process": f"{forget.MOST_FORGETTING}, and {forget.MOST_OF_TENANT} of a tenant",
        "the answer of a correction": f"{reviewing.MOST_ANSWER_BYTES // MIB} MiB",
        "reviews of a page, and reviewed results": f"{review.MOST_LISTED}",
        "silence within a body": f"{bounds.piece_within_s:g} s",
        "line and headers of a request": f"{server.MOST_HEAD_BYTES // KIB} KiB",
        "`custom_id`": f"{rows.MAX_CUSTOM_ID} characters",
        "`Idempotency-Key`": "255 characters",
        "name of a tenant or project": "63 characters",
        "name of a key, or of a webhook endpoint": "100 characters",
        "webhook endpoints of a project": f"{webhooks.MOST_ENDPOINTS}",
        "`metadata` of a batch or response": f"{of_responses.MAX_METADATA} texts of {of_responses.MAX_VALUE_CHARS} characters, "
        f"their names of {of_responses.MAX_KEY_CHARS}",
        "`completion_window`, `deadline`": "30 days",
        "`expires_after`": "30 days, and at least an hour",
        "`n` times samples times prompts": f"{requests.MAX_ANSWERS:,} answers",
        "texts of one classification or score together": f"{requests.MAX_READ_CHARS:,} characters",
        "a schema of an answer": f"{structured.MAX_SCHEMA_BYTES // KIB} KiB, {structured.MAX_DEPTH} levels",
        "all tools of a request": f"{structured.MAX_TOOLS_BYTES // KIB} KiB",
        "a regex; a grammar": f"{structured.MAX_PATTERN:,} characters; {structured.MAX_GRAMMAR:,}",
        "choices of an answer": f"{structured.MAX_CHOICES:,} of {structured.MAX_CHOICE_CHARS:,} characters",
        "`rightsize.instructions`": "100,000 characters",
        "`rightsize.samples`": f"{MOST_SAMPLES}",
        "`rightsize.max_cost_usd`": "1,000,000",
    }
    page = Path(schemas.__file__).parents[2] / "docs/openai.md"
    paced = f"at {bounds.bytes_per_s:,} bytes a second on average once it has taken {bounds.patience_s:g} s"
    assert paced in page.read_text("utf-8")


def test_bounds_that_have_no_name_in_the_code_are_where_the_page_says() -> None:
    assert _IDEMPOTENCY_KEY.fullmatch("k" * 255)
    assert not _IDEMPOTENCY_KEY.fullmatch("k" * 256)
    assert window_seconds("30d") == 30 * 86_400
    for broken in ({"instructions": "x" * 100_001}, {"max_cost_usd": "1000000.01"}, {"samples": MOST_SAMPLES + 1}):
        with pytest.raises(InvalidRequest, match=re.escape(next(iter(broken)))):
            hints_from(broken)
    hints_from({"instructions": "x" * 100_000, "max_cost_usd": "1000000", "samples": MOST_SAMPLES})


@pytest.mark.parametrize(
    "kind, most, over",
    [
        (schemas.Expiry, {"anchor": "created_at", "seconds": 30 * 86_400}, {"seconds": 30 * 86_400 + 1}),
        (schemas.Expiry, {"anchor": "created_at", "seconds": 3_600}, {"seconds": 3_599}),
        (schemas.CreateTenant, {"name": "a" * 63}, {"name": "a" * 64}),
        (schemas.CreateProject, {"name": "a" * 63}, {"name": "a" * 64}),
        (schemas.CreateKey, {"name": "a" * 100}, {"name": "a" * 101}),
        (schemas.ChangeWebhook, {"name": "a" * 100}, {"name": "a" * 101}),
        (
            schemas.CreateBatch,
            {"input_file_id": "f", "endpoint": "/v1/score", "metadata": {f"{n:064}": "v" * 512 for n in range(16)}},
            {"metadata": {str(n): "" for n in range(17)}},
        ),
    ],
)
def test_schemas_take_what_the_page_says_and_no_more(
    kind: type[BaseModel], most: dict[str, object], over: dict[str, object]
) -> None:
    kind.model_validate(most)
    with pytest.raises(ValidationError):
        kind.model_validate({**most, **over})
