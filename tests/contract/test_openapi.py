"""The OpenAPI document: valid, whole, true about scopes, and its links lead on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from orchestrator.api.app import PARTS
from orchestrator.api.documented import patterns
from orchestrator.api.documented.routes import ROUTES
from orchestrator.errors import InvalidRequest
from orchestrator.fields import ALLOWED
from orchestrator.flow.authenticate import SCOPES
from orchestrator.hints import window_seconds
from orchestrator.responses.fields import FIELDS, NOT_SERVED
from tests.serving import Api, make_key
from tests.stack import rows, until

OPEN = {"/livez", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and what the document says of it."""
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield method.upper(), path, operation


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_every_route_is_described_and_no_other() -> None:
    served = {f"{method} {route.path}" for part in PARTS for route in part.router.routes for method in route.methods}
    assert set(ROUTES) == served
    names = [name for name, _ in ROUTES.values()]
    assert len(set(names)) == len(names)


def test_every_operation_says_what_it_answers_and_in_which_form_it_refuses(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        good = [response for status, response in operation["responses"].items() if status.startswith("2")]
        assert good, path
        assert all(media["schema"] for response in good for media in response["content"].values()), path
        refused = {status for status in operation["responses"] if not status.startswith("2")}
        assert "500" in refused, path
        if path not in OPEN:
            assert {"400", "401", "403", "503"} <= refused, path
        if "requestBody" in operation:
            assert {"408", "413", "415"} <= refused, path
        assert operation["description"], (method, path)
    for name, response in document["components"]["responses"].items():
        if name != "Error499":
            assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Failure")


def test_every_parameter_has_bounds(document: dict[str, Any]) -> None:
    bounds = {"pattern", "maxLength", "enum", "maximum", "format"}
    for method, path, operation in operations(document):
        for one in operation.get("parameters", ()):
            kinds = [
                kind
                for kind in one["schema"].get("anyOf", [one["schema"]])
                if kind.get("type") not in ("null", "boolean")
            ]
            for kind in kinds:
                assert bounds & kind.keys() or one["name"] == "Range", (method, path, one["name"])


def test_the_scopes_that_are_told_are_those_that_are_asked_for(api: Api, document: dict[str, Any]) -> None:
    headers = {scope: {"Authorization": f"Bearer {make_key(api.stack.settings, scopes=[scope])}"} for scope in SCOPES}
    for method, path, operation in operations(document):
        named = [scope for one in operation.get("security", ()) for scope in one["key"]]
        if path in OPEN:
            assert named == []
            continue
        (wanted,) = named
        address = re.sub(r"\{\w+\}", "x", path)
        for scope in SCOPES:
            answered = api.http.request(
                method, address, headers={**headers[scope], "Content-Type": "text/plain"}, content=b"x"
            )
            assert (answered.status_code == 403) == (scope != wanted), (method, path, scope)


def test_bodies_of_models_name_every_field_that_is_taken(document: dict[str, Any]) -> None:
    def fields(path: str) -> set[str]:
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["additionalProperties"] is False
        return set(schema["properties"])

    for endpoint, allowed in ALLOWED.items():
        assert fields(endpoint) == {*allowed, "rightsize"}
    assert fields("/v1/responses") == {*FIELDS, *NOT_SERVED}


def test_an_upload_says_how_a_file_expires(document: dict[str, Any]) -> None:
    form = document["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["purpose", "file"]
    seconds = form["properties"]["expires_after[seconds]"]
    assert (seconds["minimum"], seconds["maximum"]) == (3_600, 2_592_000)


def test_every_link_leads_to_an_operation_and_names_its_parameters(document: dict[str, Any]) -> None:
    known = {operation["operationId"]: operation for _, _, operation in operations(document)}
    seen = 0
    for _, path, operation in operations(document):
        for response in operation["responses"].values():
            for name, link in response.get("links", {}).items():
                seen += 1
                aim = known[link["operationId"]]
                parameters = {one["name"] for one in aim.get("parameters", ())}
                assert set(link.get("parameters", ())) <= parameters, (path, name)
    assert seen > 20


def follow(api: Api, document: dict[str, Any], answer: httpx2.Response, name: str) -> httpx2.Response:
    """What the operation answers to which a link of an answer leads."""
    request = answer.request
    links = next(
        operation["responses"][str(answer.status_code)]["links"]
        for method, path, operation in operations(document)
        if method == request.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path)
    )
    link = links[name]
    method, path = next((m, p) for m, p, one in operations(document) if one["operationId"] == link["operationId"])

    def valued(text: str) -> str:
        if not text.startswith("$response.body#/"):
            return text
        found = answer.json()
        for part in text.removeprefix("$response.body#/").split("/"):
            found = found[int(part) if part.isdigit() else part]
        return str(found)

    given = {key: valued(text) for key, text in link.get("parameters", {}).items()}
    body = {key: valued(text) for key, text in link.get("requestBody", {}).items()}
    query = {key: value for key, value in given.items() if f"{{{key}}}" not in path}
    return api.http.request(method, path.format(**given), params=query, json=body or None).raise_for_status()


def test_the_links_lead_from_a_file_to_the_output_of_its_batch(api: Api, document: dict[str, Any]) -> None:
    lines = b"".join(orjson.dumps(line) + b"\n" for line in rows(3))
    file = api.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("rows.jsonl", lines)})
    assert follow(api, document, file, "content").content == lines
    assert follow(api, document, file, "estimate").json()["rows"] == 3
    batch = follow(api, document, file, "batch")
    until(lambda: follow(api, document, batch, "object").json()["status"] == "completed", 30)
    assert follow(api, document, batch, "input").json()["id"] == file.json()["id"]
    assert batch.json()["id"] not in [one["id"] for one in follow(api, document, batch, "next").json()["data"]]
    another = follow(api, document, file, "batch")
    assert follow(api, document, another, "cancel").json()["status"] in ("cancelling", "cancelled")


@pytest.mark.parametrize("days", [30, 3_650])
def test_windows_are_described_as_they_are_read(days: int) -> None:
    pattern = re.compile(patterns.window(days))
    edges = [0, 1, 9, 10, 11, 29, 30, 31, 99, 100, 101, 719, 720, 721, 3_649, 3_650, 3_651, 43_199, 43_200, 43_201]
    edges += [days * 24 + more for more in (-1, 0, 1)] + [days * 1_440 + more for more in (-1, 0, 1)]
    for number in (*edges, *(days * 86_400 + more for more in (-1, 0, 1))):
        for unit in "smhdw":
            text = f"{number}{unit}"
            try:
                taken = window_seconds(text, most_days=days) > 0 and len(str(number)) <= 7
            except InvalidRequest:
                taken = False
            assert bool(pattern.fullmatch(text)) == taken or len(str(number)) > 7, text
