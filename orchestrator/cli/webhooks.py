"""`rightsize webhooks`: endpoints that are told of events, and what was sent to them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.command import Command
from orchestrator.cli.connect import connected
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, json_flag

app = typer.Typer(no_args_is_help=True, help="Webhooks: who is told when a batch or job ends, or a budget runs low.")
EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The id of an endpoint (we_...).")]
ENDPOINT_SHAPE: Final = "`id`, `name`, `url`, `event_types`, `rightsize`"
TEST_EVENT: Final = "rightsize.webhook.test"
BATCH_EVENTS: Final = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")


@app.command("list", cls=Command)
def list_endpoints(
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"a list with {ENDPOINT_SHAPE}")] = False,
) -> None:
    """List the endpoints with the events that they are told of."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = list(client.webhooks.list())
    if as_json:
        print_json(found)
        return
    if not found:
        note(f"No endpoints. Make one: {again('webhooks create https://example.org/hook --name NAME')}")
        return
    rows = table("", "endpoint", "name", "url", "events", "", whole=("endpoint",))
    for one in found:
        disabled = one["rightsize"]["disabled_reason"]
        rows.add_row(
            one["id"],
            one["name"],
            one["url"],
            ", ".join(one["event_types"]),
            f"disabled: {disabled}" if disabled else "",
        )
    out.print(rows)


@app.command("create", cls=Command)
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where events are posted, such as https://example.org/hook.")],
    name: Annotated[str, typer.Option("--name", help="What people call it.")],
    event: Annotated[
        list[str] | None,
        typer.Option("--event", help="An event that it is told of; may be given several times (default: the end of every batch)."),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"{ENDPOINT_SHAPE}, and `signing_secret`, this once")] = False,
) -> None:  # fmt: skip
    """Make an endpoint, and show the secret that its messages are signed with: it is shown this once.

    Events: batch.completed, batch.failed, batch.expired, batch.cancelled, rightsize.job.ended, rightsize.budget.alert.

    Examples:
      rightsize webhooks create https://example.org/hook --name ours
      rightsize webhooks create https://example.org/hook --name jobs --event rightsize.job.ended
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        made = client.webhooks.create(address, event or BATCH_EVENTS, name=name)
    if as_json:
        print_json(made)
        return
    out.print(made["id"])
    out.print(f"signing secret  {made['signing_secret']}", markup=False)
    note(f"Keep the secret: it is not shown again. Try it: {again('webhooks test ' + made['id'])}")


@app.command("delete", cls=Command)
def delete(
    endpoint: EndpointId,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("`id`, `deleted`")] = False,
) -> None:
    """Delete an endpoint with all that was on its way to it."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        done = client.webhooks.delete(endpoint)
    print_json(done) if as_json else out.print(f"{endpoint}  deleted")


@app.command("test", cls=Command)
def send_sample(
    endpoint: EndpointId,
    event: Annotated[str, typer.Option("--event", help="The event of which a sample is sent.")] = TEST_EVENT,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("`status_code` of the receiver, `event_type`")] = False,
) -> None:
    """Send a sample to an endpoint now, once.

    Leaves with 1 where the receiver refused it, and with 5 where it cannot be reached.

    Example:
      rightsize webhooks test we_0199 --event batch.completed
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.webhooks.test(endpoint, event=event)
    taken = found["status_code"] // 100 == 2
    if as_json:
        print_json(found)
    else:
        out.print(f"{'taken' if taken else 'refused'} by the receiver, with {found['status_code']}")
    if not taken:
        raise typer.Exit(1)


@app.command("deliveries", cls=Command)
def deliveries(
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="Only those to this endpoint.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were given up.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many of the latest.")] = 20,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("a list with `id`, `endpoint_id`, `event_type`, `state`, `attempts`, `code`")] = False,
) -> None:  # fmt: skip
    """Show what was sent or is on its way, with what the receiver said last.

    An event is sent again for three days. What was not taken by then is dead: `rightsize webhooks replay` sends it once more.

    Example:
      rightsize webhooks deliveries --dead
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = list(itertools.islice(client.webhooks.deliveries(endpoint=endpoint, dead=dead), limit))
    if as_json:
        print_json(found)
        return
    if not found:
        note("Nothing was sent.")
        return
    rows = table(
        "",
        "delivery",
        "event",
        "state",
        "attempts",
        "made (UTC)",
        "the receiver said",
        right=("attempts",),
        whole=("delivery",),
    )
    for one in found:
        made = f"{datetime.fromtimestamp(one['created_at'], UTC):%Y-%m-%d %H:%M:%S}"
        said = " ".join(str(part) for part in (one["code"], one["detail"]) if part)
        rows.add_row(one["id"], one["event_type"], one["state"], str(one["attempts"]), made, said)
    out.print(rows)


@app.command("replay", cls=Command)
def replay(
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="The id of a delivery (msg_...).")],
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("the delivery as it is then")] = False,
) -> None:
    """Send an event once more from the beginning, whatever became of it."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.webhooks.replay(delivery)
    print_json(found) if as_json else out.print(f"{found['id']}  {found['state']}")
