"""Every HTTP call that the official client can make, found by calling each of its methods with as little as it takes.

What our server serves of them is known from its document.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx2
import openai
from openai._resource import SyncAPIResource

ROOT = "/v1"
APART = frozenset({"with_raw_response", "with_streaming_response"})
SOCKETS = frozenset({"connect"})
"""Methods that open a web socket."""
HELPERS = ("poll", "upload", "upload_file_chunked", "wait_for_processing")
"""Ends of the names of methods that put several of the others together."""
UNMADE = (openai.OpenAIError, ValueError, AttributeError)
"""What a call ends in that was refused, or that wants what another one gave."""
FILES = frozenset({"file", "image", "video", "data"})
PLACEHOLDER = re.compile(r"\{\w+\}")
MISSING = re.compile(r"'(\w+)'")


@dataclass(frozen=True, slots=True)
class Call:
    """One method of the client, and the request that it begins with."""

    name: str
    """Such as `files.content`."""
    method: str
    path: str
    """With placeholders, such as `/v1/files/{file_id}/content`."""
    arguments: dict[str, Any]

    @property
    def resource(self) -> str:
        """Where the method stands."""
        return self.name.rpartition(".")[0]

    @property
    def verb(self) -> str:
        """The method's own name."""
        return self.name.rpartition(".")[2]


def calls() -> list[Call]:
    """Every call that begins with a request; those that open a web socket or need none at all are left out."""
    seen: list[httpx2.Request] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(404, json={"error": {"message": "", "type": "", "param": None, "code": None}})

    found = []
    transport = httpx2.MockTransport(refuse)
    with httpx2.Client(transport=transport) as http, openai.OpenAI(
        base_url=f"http://none{ROOT}", api_key="x", admin_api_key="x", max_retries=0, http_client=http
    ) as client:  # fmt: skip
        for name, method in methods(client):
            seen.clear()
            arguments = attempt(method)
            if seen:
                path = _templated(seen[0].url.path, arguments)
                found.append(Call(name, seen[0].method, path, arguments))
    return found


def methods(client: openai.OpenAI) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public method of every resource, by its name."""
    waiting: list[tuple[str, Any]] = [("", client)]
    while waiting:
        prefix, owner = waiting.pop()
        for name in sorted({name for kind in type(owner).__mro__ for name in vars(kind)} - APART):
            if name.startswith("_"):
                continue
            member = inspect.getattr_static(type(owner), name)
            if isinstance(member, cached_property | property):
                if isinstance(child := getattr(owner, name), SyncAPIResource):
                    waiting.append((f"{prefix}{name}.", child))
            elif prefix and inspect.isfunction(member) and name not in SOCKETS and not name.endswith(HELPERS):
                yield prefix + name, getattr(owner, name)


def attempt(method: Callable[..., Any]) -> dict[str, Any]:
    """Call a method with what it cannot do without, whatever comes of it; returns those arguments."""
    parameters = inspect.signature(method).parameters
    arguments = {
        name: value_for(name, one)
        for name, one in parameters.items()
        if one.default is inspect.Parameter.empty and one.kind is not inspect.Parameter.VAR_KEYWORD
    }
    try:
        opened = method(**arguments)
    except TypeError as error:  # one of several sets of arguments is needed, and the message names the first
        first = str(error).partition("(")[2].partition(")")[0]
        arguments |= {name: value_for(name, parameters[name]) for name in MISSING.findall(first) if name in parameters}
        opened = _called(method, arguments)
    except UNMADE:
        opened = None
    if hasattr(opened, "__enter__"):  # a helper that asks only once its stream is opened
        try:
            with opened:
                pass
        except openai.OpenAIError:
            pass
    return arguments


def _called(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        return method(**arguments)
    except UNMADE:
        return None


def value_for(name: str, parameter: inspect.Parameter) -> Any:
    """Something of the kind that an argument has."""
    kind = str(parameter.annotation)
    if "FileTypes" in kind or name in FILES:
        return b"x"
    if name == "files" or kind.startswith(("Iterable", "Iterable[", "List", "SequenceNotStr", "list")):
        return []
    if kind.startswith("bool"):
        return True
    if kind.startswith(("int", "float")):
        return 1
    return f"the-{name}" if "str" in kind or "Literal" in kind else {}


def _templated(path: str, arguments: dict[str, Any]) -> str:
    names = {value: name for name, value in arguments.items() if isinstance(value, str)}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in path.split("/"))


def flat(path: str) -> str:
    """A path whose placeholders have lost their names."""
    return PLACEHOLDER.sub("{}", path)


def split(document: Mapping[str, Any]) -> tuple[list[Call], list[Call]]:
    """The calls that a server with this document serves, and those that it does not."""
    operations = {(method.upper(), flat(path)) for path, found in document["paths"].items() for method in found}
    served: list[Call] = []
    rest: list[Call] = []
    for call in calls():
        (served if (call.method, flat(call.path)) in operations else rest).append(call)
    return served, rest
