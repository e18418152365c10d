"""Whoever is locked out gets in again from the service's own machine, and is told how."""

from __future__ import annotations

import signal
import subprocess
import time

import orjson
import psycopg
import pytest
from sqlalchemy import make_url

from orchestrator.local import state
from tests.cli.place import WITHIN_S, Place
from tests.stack import until

FRESH_S = 2.5
"""After it the API has looked a key up anew."""


def change(place: Place, statement: bytes) -> None:
    """Run a statement in the instance's database, as the owner of the tables."""
    instance = state.read(place.data_dir)
    assert instance is not None
    url = make_url(instance.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.execute(statement)


def test_a_locked_out_house_is_opened_again_by_keys_create_with_enable(place: Place) -> None:
    place.run("keys", "list")
    change(place, b"UPDATE tenants SET disabled_at = now() WHERE name = 'default'")
    try:
        time.sleep(FRESH_S)
        place.run("keys", "list", code=1)
        told = place.run("doctor", code=1).stdout
        assert "disabled house" in told
        refused = place.run("keys", "create", "--name", "rescue", code=1).stderr
        assert "The tenant 'default' is disabled" in " ".join(refused.split())
        made = orjson.loads(
            place.run("keys", "create", "--name", "rescue", "--scope", "admin", "--enable", "--json").stdout
        )
        assert made["scopes"] == ["admin"]
        time.sleep(FRESH_S)
        place.run("keys", "list")
    finally:
        change(place, b"UPDATE tenants SET disabled_at = NULL")


def test_an_instance_whose_house_is_disabled_starts_all_the_same_and_is_rescued(empty: Place) -> None:
    process = empty.start("up", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (now := state.read(empty.data_dir)) is not None and now.status == state.READY, WITHIN_S, "up")
        change(empty, b"UPDATE projects SET disabled_at = now()")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WITHIN_S)
    empty.run("keys", "list", code=1)
    empty.run("keys", "create", "--name", "rescue", "--enable")
    assert "rescue" in empty.run("keys", "list").stdout


@pytest.mark.parametrize("more", [(), ("--enable",)])
def test_a_missing_key_or_enable_at_a_url_points_to_the_services_own_machine(
    empty: Place, more: tuple[str, ...]
) -> None:
    words = ("keys", "create", "--name", "x", "--url", "http://127.0.0.1:9", *more)
    told = " ".join(empty.run(*words, code=2 if more else 1).stderr.replace("│", " ").split())
    assert "service's own machine" in told
    assert "RIGHTSIZE_URL" in told


def test_a_rotated_key_lasts_as_long_as_the_one_before_or_as_is_said(place: Place) -> None:
    def lasts_s(*words: str) -> float:
        return float(orjson.loads(place.run("keys", *words, "--json").stdout)["expires_at"]) - time.time()

    assert lasts_s("create", "--name", "first", "--expires-in", "90d") == pytest.approx(90 * 86_400, abs=60)
    assert lasts_s("rotate", "first") == pytest.approx(90 * 86_400, abs=60)
    place.run("keys", "create", "--name", "second", "--expires-in", "1h")
    assert lasts_s("rotate", "second", "--expires-in", "12h") == pytest.approx(43_200, abs=60)


def test_a_tenants_budget_with_another_name_is_refused_with_the_way_to_name_it(place: Place) -> None:
    told = place.run("budgets", "set", "acme", "--scope", "tenant", "--limit-usd", "1", code=1).stderr
    assert "--tenant NAME" in told
    assert "not 'acme'" in told
