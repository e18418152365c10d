"""The OpenAPI document: FastAPI's own of routes and parameters, completed from the table of what they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.api.documented.failed import HEADERS as OF_RESPONSES
from orchestrator.api.documented.failed import Failure, error_responses
from orchestrator.api.documented.operations import SCHEMAS, Described
from orchestrator.api.documented.routes import HEADERS, PATHS, ROUTES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ABOUT: Final = """Runs language-model jobs on the smallest model that does them well.

Its routes under `/v1` are OpenAI's where OpenAI has them, and every error has OpenAI's form. A route's `security` names the scope
that a key needs: `read`, `submit` or `admin`. Answers may get further fields: whoever reads them passes over what they do not know.
"""


def describe(app: FastAPI) -> None:
    """Let an application give the completed document instead of FastAPI's."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(_begun(app))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _begun(app: FastAPI) -> dict[str, Any]:
    return get_openapi(
        title=app.title, version=app.version, description=ABOUT, routes=app.routes, servers=[{"url": "/"}]
    )


def completed(begun: Mapping[str, Any]) -> dict[str, Any]:
    """The document with what every operation answers and may refuse, the bounds of paths, and links."""
    paths: dict[str, dict[str, Any]] = {}
    for path, operations in begun["paths"].items():
        paths[path] = {
            method: _completed(operation, *ROUTES[f"{method.upper()} {path}"]) for method, operation in operations.items()
        }  # fmt: skip
    components = {
        "schemas": _schemas(),
        "responses": error_responses(),
        "headers": dict(OF_RESPONSES),
        "securitySchemes": begun["components"]["securitySchemes"],
    }
    return {**begun, "jsonSchemaDialect": DIALECT, "paths": paths, "components": components}


def _completed(operation: Mapping[str, Any], name: str, described: Described) -> dict[str, Any]:
    bounded = [
        {**one, "schema": PATHS.get(one["name"], one["schema"])} if one["in"] == "path" else one
        for one in operation.get("parameters", ())
    ]
    given = [{"name": one, "in": "header", "required": False, **HEADERS[one]} for one in described.takes]
    parameters = [*bounded, *given]
    whole = {**operation, "operationId": name, "responses": described.responses()}
    if parameters:
        whole["parameters"] = parameters
    return whole


def _schemas() -> dict[str, Any]:
    """Every schema that an answer has."""
    models: set[type[BaseModel]] = {Failure, *_models()}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema([(model, "serialization") for model in ordered], ref_template=SCHEMAS + "{model}")
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _models() -> Iterator[type[BaseModel]]:
    for _, described in ROUTES.values():
        yield from (one for one in (described.model, described.event) if one is not None)
