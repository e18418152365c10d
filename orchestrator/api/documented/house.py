"""Answers about routes, money, tenants, keys, limits and webhooks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.api.documented.shapes import (
    Count,
    DeliveryId,
    EndpointId,
    KeyId,
    Listed,
    Page,
    ProjectId,
    Stamp,
    TenantId,
    Tier,
    Told,
    Usd,
)  # fmt: skip


class Route(Told):
    """Where a request would go."""

    tier: Tier
    model: str
    rule: str
    reasons: list[str]
    cascade: list[str]
    """Models that take over, in this order, where an answer is not accepted."""
    cost_usd: Usd
    hold_usd: Usd
    latency_s: float


class Question(Told):
    """One step of the decision tree."""

    question: str
    answer: Literal["yes", "no"]


class Factor(Told):
    """One of the four factors, and what was found."""

    name: str
    finding: str


class Alternative(Told):
    """A model that could have been taken, and why it was not."""

    tier: Tier
    model: str
    chosen: bool
    cost_usd: Usd
    hold_usd: Usd
    latency_s: float
    problem: str | None


class Explanation(Told):
    """The decision tree walked for a request; nothing was run."""

    object: Literal["explanation"]
    route: Route | None
    problem: str | None
    tree: list[Question]
    factors: list[Factor]
    alternatives: list[Alternative]


class CostSum(Told):
    """Charges and costs under one key."""

    key: str
    jobs: Count
    attempts: Count
    charge_usd: Usd
    rejected_usd: Usd
    """The part of the charge that is for answers which were not accepted, and of which another model took over."""
    cost_usd: Usd
    house_usd: Usd


class Cost(Told):
    """Charges and costs."""

    object: Literal["cost"]
    by: Literal["batch", "tier", "model", "day"]
    batch: str | None
    data: list[CostSum]
    total: CostSum


class Machines(Told):
    """What machines that are priced by the hour did and cost."""

    object: Literal["machines"]
    data: list[dict[str, Any]]


class UsageReport(Told):
    """What was used, charged and borne, by the keys that were asked for."""

    object: Literal["usage"]
    by: list[str]
    data: list[dict[str, Any]]
    total: dict[str, Any]


class Price(Told):
    """A model's prices from a day on."""

    object: Literal["price"]
    model: str
    tier: Tier
    begins: str = Field(alias="from")
    in_force: bool
    prices: dict[str, Usd]


class Prices(Listed):
    """Every model's dated prices."""

    data: list[Price]


class Tenant(Told):
    """Whoever work belongs to."""

    id: TenantId
    object: Literal["tenant"]
    name: str
    weight: Count
    retention_days: int | None
    created_at: Stamp
    disabled_at: Stamp | None


class Tenants(Listed):
    """Tenants."""

    data: list[Tenant]


class Project(Told):
    """A part of a tenant's work."""

    id: ProjectId
    object: Literal["project"]
    name: str
    weight: Count
    created_at: Stamp
    disabled_at: Stamp | None


class Projects(Listed):
    """Projects."""

    data: list[Project]


SCOPES = Literal["submit", "read", "admin"]


class Key(Told):
    """An API key, of which only the beginning is known."""

    id: KeyId
    object: Literal["key"]
    name: str
    prefix: str
    project: str
    scopes: list[SCOPES]
    created_at: Stamp
    expires_at: Stamp | None
    last_used_at: Stamp | None
    revoked_at: Stamp | None


class Keys(Listed):
    """Keys."""

    data: list[Key]


class MadeKey(Told):
    """A new key, which is shown this once."""

    id: KeyId
    object: Literal["key"]
    key: str
    prefix: str
    scopes: list[SCOPES]
    expires_at: Stamp | None


class Budget(Told):
    """A hard limit, and what is held and spent of it."""

    object: Literal["budget"]
    scope: Literal["tenant", "project", "key"]
    named: str | None
    period: Literal["day", "month", "total"]
    limit_usd: Usd | None
    held_usd: Usd
    spent_usd: Usd
    left_usd: Usd | None


class Budgets(Listed):
    """Budgets."""

    data: list[Budget]


class Quota(Told):
    """What a tenant, project or key may ask for; null where nothing is set."""

    object: Literal["quota"]
    scope: Literal["tenant", "project", "key"]
    named: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    jobs_queued: int | None
    jobs_in_flight: int | None
    file_bytes: int | None


class Quotas(Listed):
    """Quotas."""

    data: list[Quota]


class Act(Told):
    """One administrative act."""

    object: Literal["audit"]
    id: int
    at: Stamp
    actor: str
    action: str
    target: str
    detail: dict[str, Any]


class Acts(Listed):
    """The log of administrative acts."""

    data: list[Act]


class EventTypes(Listed):
    """The events that an endpoint may be told of."""

    data: list[str]


class EndpointNote(Told):
    """What we say of an endpoint beyond OpenAI's object."""

    disabled_at: Stamp | None
    disabled_reason: str | None


class WebhookEndpoint(Told):
    """Where events are sent."""

    id: EndpointId
    object: Literal["webhook_endpoint"]
    created_at: Stamp
    updated_at: Stamp
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    rightsize: EndpointNote


class WebhookEndpointWithSecret(WebhookEndpoint):
    """An endpoint with its secret, which is shown this once."""

    signing_secret: str


class WebhookEndpoints(Page):
    """Endpoints, the newest first."""

    data: list[WebhookEndpoint]


class DeletedWebhookEndpoint(Told):
    """An endpoint that is gone."""

    id: EndpointId
    object: Literal["webhook_endpoint.deleted"]
    deleted: Literal[True]


class WebhookTest(Told):
    """What a receiver answered to a sample event."""

    object: Literal["webhook_endpoint.test"]
    event_type: str
    status_code: int
    success: Literal[True]
    webhook_endpoint_id: EndpointId


class Delivery(Told):
    """One event on its way to one endpoint."""

    id: DeliveryId
    object: Literal["webhook_delivery"]
    endpoint_id: EndpointId
    event_type: str
    state: Literal["delivered", "dead", "pending", "tested"]
    attempts: Count
    code: str | None
    detail: str | None
    created_at: Stamp
    next_at: Stamp | None


class Deliveries(Page):
    """Deliveries, the newest first."""

    data: list[Delivery]


class Alive(Told):
    """The process answers."""

    status: Literal["ok"]


class Ready(Told):
    """Whether the process can serve, and what is missing."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
