"""Whatever the official client can call and is not served here ends in its own error, in OpenAI's form, at once."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import openai
import pytest

from tests.contract.sdk import Sdk
from tests.contract.sdk_walk import Call, flat, split
from tests.serving import Api

# The client warns of calls that OpenAI is about to end.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def calls(api: Api) -> list[Call]:
    """What is not served; each is then really called."""
    return split(api.http.get("/openapi.json").json())[1]


def raised(sdk: Sdk, client: Any, call: Call) -> openai.APIStatusError | None:
    """The error that a call ends in; None where the client itself refuses to send it."""
    method = reduce(getattr, call.name.split("."), client)
    try:
        given = method(**call.arguments)
        if hasattr(given, "__enter__") or hasattr(given, "__aenter__"):
            sdk.within(given, lambda opened: opened)
        else:
            sdk(given)
    except openai.APIStatusError as error:
        return error
    pytest.fail(f"{call.name} was answered")


def test_each_is_a_404_or_where_another_method_is_served_a_405(api: Api, sdk: Sdk, calls: list[Call]) -> None:
    paths = [flat(path).replace("{}", "[^/]+") for path in api.http.get("/openapi.json").json()["paths"]]
    with sdk.other(admin_api_key=api.key) as client:
        for call in calls:
            error = raised(sdk, client, call)
            assert error is not None
            status = 405 if any(re.fullmatch(path, call.path) for path in paths) else 404
            code = {404: "not_found", 405: "method_not_allowed"}[status]
            assert (error.status_code, error.code) == (status, code), call.name
            assert isinstance(error, openai.NotFoundError) == (status == 404)
            assert set(error.body) == {"message", "type", "param", "code"}
            assert call.method in error.message
            if status == 405:
                assert error.response.headers["allow"]
