"""Commands that say who may work here, and how much: tenants, projects, keys, budgets, quotas, audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.command import Command
from orchestrator.cli.connect import connected, server_command, settings_of, with_servers
from orchestrator.cli.display import money, note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, checked_deadline, hint, json_flag

tenants = typer.Typer(no_args_is_help=True, help="Tenants: customers who see and pay only their own.")
projects = typer.Typer(
    no_args_is_help=True, help="Projects: parts of a tenant with keys, budgets and a share of their own."
)
keys = typer.Typer(no_args_is_help=True, help="API keys: who may call, in which project, and what they may do.")
budgets = typer.Typer(no_args_is_help=True, help="Budgets: hard limits of tenants, projects and keys.")
quotas = typer.Typer(no_args_is_help=True, help="Quotas: how much may be asked for in a minute, or at once.")


class KeyScope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


class LimitScope(StrEnum):
    """What a limit is for."""

    TENANT = "tenant"
    PROJECT = "project"
    KEY = "key"


class BudgetPeriod(StrEnum):
    """What a budget is for: a day or a month (UTC), or all time."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


Tenant = Annotated[
    str | None,
    typer.Option("--tenant", help="Another tenant's name, for whoever runs the service.", rich_help_panel="Where"),
]
Name = Annotated[
    str, typer.Option("--name", help="Its name: lower-case letters, digits, dots, dashes, underscores; at most 63.")
]
Weight = Annotated[int, typer.Option("--weight", min=1, max=1000, help="Its share of the fleet beside the others'.")]
NewWeight = Annotated[int | None, typer.Option("--weight", min=1, max=1000, help="Its share beside the others'.")]
Retention = Annotated[
    int | None,
    typer.Option(
        "--retention-days",
        min=1,
        max=3650,
        help="How long its files are kept (default: the service's retention_days). Requests and results go by the service's alone.",
    ),
]
Disabled = Annotated[
    bool | None, typer.Option("--disable/--enable", help="Refuse its keys, or take them again.", show_default=False)
]
Which = Annotated[str, typer.Argument(metavar="NAME|ID", help="Its name or id.")]
Scope = Annotated[LimitScope, typer.Option("--scope", help="Whose limit it is.")]
Named = Annotated[
    str | None,
    typer.Argument(metavar="NAME|ID", help="The project or key that it limits (default: the project `default`). A tenant needs none: --tenant names another one."),
]  # fmt: skip
AsJson = Annotated[bool, json_flag("the object, or a list of them")]
KEY_SHAPE: Final = "`id`, `key`, `prefix`, `scopes`, `expires_at`"


@tenants.command("list", cls=Command)
def list_tenants(
    url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Show every tenant."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show(client.admin.tenants(), ("name", "id", "weight", "retention_days", "disabled_at"), as_json=as_json)


@tenants.command("create", cls=Command)
def create_tenant(
    name: Name, weight: Weight = 1, retention_days: Retention = None, url: Url = None, api_key: ApiKey = None,
    data_dir: DataDir = None, config: Config = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a tenant with a first project, `default`. Its first key: `rightsize keys create --tenant NAME --name ...`."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.admin.create_tenant(name, weight=weight, retention_days=retention_days)
    _show_one(made, as_json=as_json)


@tenants.command("change", cls=Command)
def change_tenant(
    which: Which, weight: NewWeight = None, retention_days: Retention = None, disabled: Disabled = None, url: Url = None,
    api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Change a tenant's share or retention, disable it or enable it again."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.admin.change_tenant(which, weight=weight, retention_days=retention_days, disabled=disabled)
    _show_one(made, as_json=as_json)


@projects.command("list", cls=Command)
def list_projects(
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show a tenant's projects."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show(client.admin.projects(tenant=tenant), ("name", "id", "weight", "disabled_at"), as_json=as_json)


@projects.command("create", cls=Command)
def create_project(
    name: Name, weight: Weight = 1, tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None,
    config: Config = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a project."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.admin.create_project(name, weight=weight, tenant=tenant)
    _show_one(made, as_json=as_json)


@projects.command("change", cls=Command)
def change_project(
    which: Which, weight: NewWeight = None, disabled: Disabled = None, tenant: Tenant = None, url: Url = None,
    api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Change a project's share, disable it or enable it again."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.admin.change_project(which, weight=weight, disabled=disabled, tenant=tenant)
    _show_one(made, as_json=as_json)


@keys.command("create", cls=Command)
def create_key(
    name: Annotated[str, typer.Option("--name", help="What the key is for.")],
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option("--scope", help="What it may do; several may be given (default: submit and read)."),
    ] = None,
    project: Annotated[str, typer.Option("--project", help="The project that it works in.")] = "default",
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="How long it lasts, such as 90d; for good without it.")
    ] = None,
    enable: Annotated[
        bool, typer.Option("--enable", help="Enable its tenant and project again, where they were disabled; without --url only.")
    ] = False,
    though_disabled: Annotated[bool, typer.Option("--though-disabled", hidden=True)] = False,
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: Annotated[bool, json_flag(KEY_SHAPE)] = False,
) -> None:  # fmt: skip
    """Make an API key. It is shown this once: only its hash is stored.

    With --url the service makes it, and needs an admin key. Without, it is made in the database itself, as the first one must be.
    """
    if url and enable:
        raise typer.BadParameter("--enable is for the service's own machine: leave out --url, and unset RIGHTSIZE_URL.")
    scopes = [str(one) for one in scope or (KeyScope.SUBMIT, KeyScope.READ)]
    if url:
        with connected(url, api_key, data_dir, config, workers=False) as client:
            made = client.admin.create_key(name, project=project, scopes=scopes, expires_in=expires_in, tenant=tenant)
            made = {field: made[field] for field in ("id", "key", "prefix", "scopes", "expires_at")}
    else:
        within_s = checked_expiry(expires_in)
        more = {"tenant": tenant} if tenant else {}
        more["disabled"] = "enable" if enable else "make" if though_disabled else "refuse"
        with with_servers(settings_of(data_dir, config), workers=False) as settings:
            made = server_command("create_key")(
                settings, name, project=project, scopes=scopes, within_s=within_s, **more
            )
    _show_key(made, as_json=as_json)


@keys.command("list", cls=Command)
def list_keys(
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show a tenant's keys by prefix, with their last use."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.admin.keys(tenant=tenant)
    columns = ("name", "id", "prefix", "project", "scopes", "last_used_at", "expires_at", "revoked_at")
    _show(found, columns, as_json=as_json)


@keys.command("rotate", cls=Command)
def rotate_key(
    which: Which,
    grace: Annotated[
        str | None, typer.Option("--grace", help="How long the old key lasts, such as 24h; it ends at once without it.")
    ] = None,
    expires_in: Annotated[
        str | None,
        typer.Option("--expires-in", help="How long the new key lasts, such as 90d; as long as the old one was made for without it."),
    ] = None,
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: Annotated[bool, json_flag(KEY_SHAPE)] = False,
) -> None:  # fmt: skip
    """Make a key that takes an older one's place: same project, name, scopes and lifetime."""
    checked_expiry(expires_in)
    grace = checked_deadline(grace) if grace else None
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.admin.rotate_key(which, grace=grace, expires_in=expires_in, tenant=tenant)
    _show_key(made, as_json=as_json)


@keys.command("revoke", cls=Command)
def revoke_key(
    which: Which, tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Revoke a key for good; it is refused within two seconds."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show_one(client.admin.revoke_key(which, tenant=tenant), as_json=as_json)


@budgets.command("list", cls=Command)
def list_budgets(
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show what may be spent, what is held for accepted work, and what is spent."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show_budgets(client.admin.budgets(tenant=tenant), as_json=as_json)


@budgets.command("set", cls=Command)
def set_budget(
    named: Named = None,
    limit_usd: Annotated[
        str | None,
        typer.Option("--limit-usd", metavar="X", help="The most that may be spent, in US dollars.", callback=hint("max_cost_usd", "give US dollars, such as 25.00.")),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Take the limit away.")] = False,
    scope: Scope = LimitScope.PROJECT,
    period: Annotated[BudgetPeriod, typer.Option("--period", help="In which time; days and months are UTC.")] = BudgetPeriod.TOTAL,
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set a hard limit, or take it away.

    At the limit submissions are refused and batches pause, until it is raised or a new period begins.

    Examples:
      rightsize budgets set default --limit-usd 25 --period month
      rightsize budgets set --scope tenant --tenant acme --limit-usd 1000
    """
    if (limit_usd is None) != none:
        raise typer.BadParameter("give either --limit-usd X or --none.")
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.admin.set_budget(
            limit_usd, scope=scope, named=named or _default(scope), period=period, tenant=tenant
        )
    _show_budgets(found, as_json=as_json)


@quotas.command("list", cls=Command)
def list_quotas(
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show how much may be asked for."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show(client.admin.quotas(tenant=tenant), QUOTA_COLUMNS, as_json=as_json)


QUOTA_COLUMNS: Final = (
    "scope", "named", "requests_per_minute", "tokens_per_minute", "jobs_queued", "jobs_in_flight", "file_bytes"
)  # fmt: skip


@quotas.command("set", cls=Command)
def set_quota(
    named: Named = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", min=1, help="Requests that may be handed in within a minute.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option("--tokens-per-minute", min=1, help="Tokens that they may ask for within a minute.")
    ] = None,
    jobs_queued: Annotated[int | None, typer.Option("--jobs-queued", min=1, help="Jobs that may be open at once.")] = None,
    jobs_in_flight: Annotated[
        int | None, typer.Option("--jobs-in-flight", min=1, help="Jobs that may be with workers at once; the others wait. Not for a key.")
    ] = None,
    file_bytes: Annotated[int | None, typer.Option("--file-bytes", min=1, help="Bytes that its files may have together.")] = None,
    scope: Scope = LimitScope.PROJECT,
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set the quotas of a tenant, project or key; those that are left out are taken away.

    What is beyond one is refused until there is room again; beyond --jobs-in-flight nothing is refused: jobs wait.

    Example:
      rightsize quotas set default --requests-per-minute 600 --jobs-in-flight 200
    """
    given = {
        "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "jobs_queued": jobs_queued,
        "jobs_in_flight": jobs_in_flight, "file_bytes": file_bytes,
    }  # fmt: skip
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.admin.set_quota(given, scope=scope, named=named or _default(scope), tenant=tenant)
    _show(found, QUOTA_COLUMNS, as_json=as_json)


def audit(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many of the latest acts.")] = 100,
    tenant: Tenant = None, url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show the log of administrative acts, the newest first."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show(
            client.admin.audit(limit=limit, tenant=tenant),
            ("at", "actor", "action", "target", "detail"),
            as_json=as_json,
        )


def checked_expiry(value: str | None) -> float | None:
    """Seconds of a key's life, by the rule that the service itself has."""
    from orchestrator.hints import window_seconds

    return window_seconds(value, "--expires-in", most_days=3_650) if value else None


def _default(scope: LimitScope) -> str | None:
    return "default" if scope is LimitScope.PROJECT else None


def _show_key(made: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(made["key"])
    note(f"{made['id']} ({', '.join(made['scopes'])}): keep it safe, it is not shown again.")


def _show_one(made: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        out.print(f"{made['id']}  {made['name']}", markup=False)


def _show_budgets(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    rows = [
        {**one, **{name: money(one[name]) or "none" for name in ("limit_usd", "held_usd", "spent_usd", "left_usd")}}
        for one in found
    ]
    columns = ("scope", "named", "period", "limit_usd", "held_usd", "spent_usd", "left_usd")
    _show(found if as_json else rows, columns, as_json=as_json)


def _show(found: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json(list(found))
        return
    rows = table("", *(column.removesuffix("_at").replace("_", " ") for column in columns))
    for one in found:
        rows.add_row(*(_cell(column, one.get(column)) for column in columns))
    out.print(rows)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.endswith("_at") or column == "at":
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M}"
    return ", ".join(value) if isinstance(value, list) else str(value)
