"""`docs/openai.md` says what the code does: its tables are held against fields, bounds, errors, routes and the official client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx2
import openai
import pytest

from orchestrator.api.documented.failed import MEANINGS
from orchestrator.api.failures import CLIENT_GONE, error_type
from orchestrator.fields import ALLOWED, CAPS, WHOLE
from orchestrator.flow.submit import OF_BATCHES
from orchestrator.hints import HINTS
from orchestrator.responses.fields import FIELDS, NOT_SERVED
from tests.contract.sdk_walk import Call, flat, split
from tests.serving import Api
from tests.stack import ROOT

# The client warns of calls that OpenAI is about to end.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PAGE = (ROOT / "docs/openai.md").read_text("utf-8")
COLUMNS = {
    "chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings", "classify": "/v1/classify",
    "score": "/v1/score",
}  # fmt: skip
CODE = re.compile(r"`([^`]+)`")


def table(first: str, page: str = PAGE) -> list[dict[str, str]]:
    """The rows of the table whose first heading this is."""
    lines = page.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    headings = cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(headings, cells(line), strict=True)))
    assert rows
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def walked(document: dict[str, Any]) -> tuple[list[Call], list[Call]]:
    """The official client's calls: those that are served, and the others."""
    return split(document)


def test_fields_are_those_that_each_endpoint_takes_with_their_bounds() -> None:
    rows = {row["field"].strip("`"): row for row in table("field")}
    for column, endpoint in COLUMNS.items():
        assert {name for name, row in rows.items() if row[column] == "yes"} == ALLOWED[endpoint]
    assert set(COLUMNS.values()) == set(ALLOWED)
    told = {name: rows[name]["may be"] for name in CAPS}
    assert told == {
        name: f"{low:,} to {high:,}" + (", whole" if name in WHOLE else "") for name, (low, high) in CAPS.items()
    }
    assert all(row["may be"] for row in rows.values())


def test_fields_of_responses_are_those_that_are_taken_and_refused() -> None:
    taken, refused = table("field of a response"), table("field that is refused")
    assert {row["field of a response"].strip("`"): row["what becomes of it"] for row in taken} == FIELDS
    assert {row["field that is refused"].strip("`"): row["instead"] for row in refused} == NOT_SERVED


def test_hints_are_those_that_are_taken() -> None:
    assert {row["hint"].strip("`") for row in table("hint")} == {*HINTS, *OF_BATCHES}


def test_errors_are_told_with_the_official_clients_classes_and_our_types() -> None:
    rows = {int(row["status"]): row for row in table("status")}
    assert set(rows) == set(MEANINGS) - {CLIENT_GONE}
    with openai.OpenAI(api_key="x", base_url="http://none") as client:
        for status, row in rows.items():
            response = httpx2.Response(status, request=httpx2.Request("GET", "http://none"))
            raised = client._make_status_error("", body=None, response=response)
            assert row["class in the official client"] == f"`{type(raised).__name__}`"
            assert row["`type`"] == f"`{error_type(status)}`"
            assert row["meaning"] == MEANINGS[status]


def test_what_is_served_of_the_official_client_is_told(walked: tuple[list[Call], list[Call]]) -> None:
    told = {row["resource"].strip("`"): set(CODE.findall(row["methods"])) for row in table("resource")}
    served: dict[str, set[str]] = {}
    for call in walked[0]:
        served.setdefault(call.resource, set()).add(call.verb)
    assert told == served


def test_what_is_not_served_of_the_official_client_is_told(walked: tuple[list[Call], list[Call]]) -> None:
    served, rest = walked
    told: Mapping[str, str] = {
        row["resource that is not served"].strip("`"): row["methods"] for row in table("resource that is not served")
    }
    named = {f"{resource}.{verb}" for resource, methods in told.items() for verb in CODE.findall(methods)}
    whole = tuple(f"{resource}." for resource, methods in told.items() if methods == "all")
    assert {call.name for call in rest if not call.name.startswith(whole)} == named
    assert not [call.name for call in served if call.name.startswith(whole)]
    assert all(any(call.name.startswith(resource) for call in rest) for resource in whole)
    assert len(rest) > 300


def test_routes_of_our_own_are_told_with_their_scopes(
    document: dict[str, Any], walked: tuple[list[Call], list[Call]]
) -> None:
    theirs = {(call.method, flat(call.path)) for call in walked[0]}
    ours = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (method.upper(), flat(path)) not in theirs:
                scopes = [scope for one in operation.get("security", ()) for scope in one["key"]]
                ours[f"{method.upper()} {path}"] = scopes[0] if scopes else "none"
    rows = table("route")
    assert {row["route"].strip("`"): row["scope"] for row in rows} == ours
    assert all(row["what it does"] for row in rows)
