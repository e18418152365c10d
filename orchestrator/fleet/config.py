"""The whole of `rightsize.toml`: all models and the policy, checked. Pure apart from reading the file."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ValidationError, model_validator

from orchestrator.contracts import Tier, queue_for
from orchestrator.errors import InvalidConfig, InvalidRequest, UnknownModel
from orchestrator.fleet.model import Model, Strict
from orchestrator.fleet.policy import Policy
from orchestrator.pricing import card_from

T = TypeVar("T", bound=BaseModel)


class Fleet(Strict):
    """All models, and which of them is each tier's default."""

    models: tuple[Model, ...]

    @model_validator(mode="after")
    def _one_default_a_tier(self) -> Self:
        for tier in {model.tier for model in self.models}:
            defaults = [model.name for model in self.models if model.tier is tier and model.default]
            if len(defaults) > 1:
                raise ValueError(
                    f"tier {tier} has two default models, {' and '.join(defaults)}: keep `default` on one."
                )
        return self

    @cached_property
    def by_name(self) -> dict[str, Model]:
        """Models by name."""
        return {model.name: model for model in self.models}

    @cached_property
    def named_endpoints(self) -> frozenset[str]:
        """The endpoints that some model says it serves."""
        return frozenset(endpoint for model in self.models for endpoint in model.endpoints)

    @cached_property
    def adapters(self) -> dict[str, tuple[str, ...]]:
        """Adapter -> the models that have it."""
        names = sorted({name for model in self.models for name in model.adapters})
        return {name: tuple(model.name for model in self.models if name in model.adapters) for name in names}

    def check_adapter(self, name: str | None, among: Iterable[Model] | None = None) -> None:
        """Raise InvalidRequest, which lists those there are, for an adapter that no model (or none of `among`) has."""
        if name is None or any(name in model.adapters for model in (self.models if among is None else among)):
            return
        there = "; ".join(f"{one} ({', '.join(models)})" for one, models in self.adapters.items())
        where = f"Adapters and their models: {there}." if there else "This fleet has none."
        raise InvalidRequest(f"No model that could take this request has the adapter {name}. {where}", param="adapter")

    @cached_property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that some model serves, in the order slm, llm, rlm, mllm."""
        return tuple(tier for tier in Tier if any(model.tier is tier for model in self.models))

    def of_tier(self, tier: Tier) -> tuple[Model, ...]:
        """The models of a tier, its default first."""
        return tuple(sorted((m for m in self.models if m.tier is tier), key=lambda m: not self.is_default(m)))

    @cached_property
    def _defaults(self) -> dict[Tier, str]:
        chosen: dict[Tier, str] = {}
        for model in sorted(self.models, key=lambda m: not m.default):
            chosen.setdefault(model.tier, model.name)
        return chosen

    def is_default(self, model: Model) -> bool:
        """Whether a model serves its tier's plain queue."""
        return self._defaults[model.tier] == model.name

    def named(self, name: str) -> Model:
        """The model of that name; raises UnknownModel that lists those there are."""
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownModel(name, ["auto", *self.tiers, *self.by_name]) from None

    def queue_of(self, model: Model, *, interactive: bool = False) -> str:
        """The Celery queue of a model."""
        return queue_for(model.tier, model.name, is_default=self.is_default(model), interactive=interactive)


class Config(Strict):
    """Everything that `rightsize.toml` says, checked."""

    fleet: Fleet
    policy: Policy
    source: str

    @cached_property
    def versions(self) -> dict[str, tuple[str, str]]:
        """Kind of version -> (digest, canonical JSON), for `fleet`, `policy` and `prices`."""
        fleet = self.fleet.model_dump(mode="json", exclude={"models": {"__all__": {"rates"}}})
        prices = {m.name: m.model_dump(mode="json", include={"rates"})["rates"] for m in self.fleet.models}
        parts = {"fleet": fleet, "policy": self.policy.model_dump(mode="json"), "prices": prices}
        texts = {kind: json.dumps(part, sort_keys=True, default=str) for kind, part in parts.items()}
        return {kind: (hashlib.sha256(text.encode()).hexdigest(), text) for kind, text in texts.items()}

    def placed(self, model: Model) -> Model:
        """The model as a worker on this machine loads it: a relative path begins at the folder of the `rightsize.toml`.

        What is no file or folder there stays as it is: `ORGANISATION/MODEL` on a hub looks like a relative path.
        """
        home = Path(self.source).absolute().parent
        adapters = {name: _under(home, path) for name, path in model.adapters.items()}
        return model.model_copy(update={"path": _under(home, model.path), "adapters": adapters})


def _under(home: Path, path: str | None) -> str | None:
    if path is None:
        return None
    place = home / Path(path).expanduser()
    return os.path.normpath(place) if place.exists() or path.startswith(("./", "../", "~")) else path


def load(path: Path | None) -> Config:
    """Read and check a `rightsize.toml`, or the sample fleet of simulated models where `path` is None.

    Raises InvalidConfig that names the file, the key and the remedy.
    """
    source = str(path) if path else "the built-in sample fleet"
    try:
        text = path.read_text("utf-8") if path else resources.files("orchestrator").joinpath("sample.toml").read_text()
        data = tomllib.loads(text)
    except OSError as error:
        raise InvalidConfig(
            f"Cannot read {source}: {error.strerror}. Give --config or RIGHTSIZE_CONFIG a file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{source} is not valid TOML: {error}.") from error
    return parse(data, source)


def parse(data: Mapping[str, Any], source: str) -> Config:
    """A checked Config from the tables of a TOML document."""
    if unknown := set(data) - {"models", "policy", "settings"}:
        raise InvalidConfig(f"{source}: unknown tables {sorted(unknown)}. Known: models, policy, settings.")
    tables = data.get("models")
    if not isinstance(tables, Mapping) or not tables:
        raise InvalidConfig(f"{source}: no models. Add a table such as [models.NAME] with tier, engine and rates.")
    try:
        models = tuple(_model(name, table, source) for name, table in tables.items())
        fleet = _checked(Fleet, {"models": models}, source, "models")
        policy = _checked(Policy, data.get("policy", {}), source, "policy")
    except RecursionError as error:
        raise InvalidConfig(f"{source} is nested too deeply.") from error
    config = Config(fleet=fleet, policy=policy, source=source)
    if policy.default_tier not in fleet.tiers:
        raise InvalidConfig(
            f"{source}: policy.default_tier is {policy.default_tier}, but no model serves it. "
            f"Add one, or choose one of: {', '.join(fleet.tiers)}."
        )
    return config


def _model(name: str, table: object, source: str) -> Model:
    if not isinstance(table, Mapping):
        raise InvalidConfig(f"{source}: models.{name} must be a table [models.{name}].")
    rows = table.get("rates", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise InvalidConfig(f"{source}: models.{name}.rates must be tables [[models.{name}.rates]].")
    try:
        cards = tuple(card_from(row, name) for row in rows)
    except InvalidConfig as error:
        raise InvalidConfig(f"{source}: {error.message}") from None
    return _checked(Model, {**table, "name": name, "rates": cards}, source, f"models.{name}")


def _checked(kind: type[T], data: object, source: str, where: str) -> T:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        known = ", ".join(_table_at(kind, first["loc"][:-1])) if first["type"] == "extra_forbidden" else ""
        hint = f" Known keys: {known}." if known else ""
        raise InvalidConfig(f"{source}: {key}: {message}{'' if message.endswith('.') else '.'}{hint}") from None


def _table_at(kind: type[BaseModel], place: Iterable[int | str]) -> Iterable[str]:
    """The keys of the table that an error's place leads to."""
    for step in place:
        annotation = kind.model_fields[str(step)].annotation
        for inner in (annotation, *get_args(annotation)):  # a table that may be missing is `Table | None`
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                kind = inner
    return kind.model_fields
