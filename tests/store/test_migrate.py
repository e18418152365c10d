"""What a database may be found as, and what is said of it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings
from orchestrator.store import migrate as migrations
from orchestrator.store.migrate import check_schema, migrate
from orchestrator.store.session import Database


@pytest.fixture
def database(empty_database: str, settings: Settings) -> Database:
    made = Database(
        Settings.load({"database_url": empty_database, "data_dir": settings.data_dir}), "owner", connections=1
    )
    migrate(made)
    return made


def change(database: Database, statement: str) -> None:
    with database.unit_of_work() as session:
        session.execute(text(statement))


def test_a_database_of_the_first_schema_keeps_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, empty_database: str, settings: Settings
) -> None:
    old = Database(
        Settings.load({"database_url": empty_database, "data_dir": settings.data_dir}), "owner", connections=1
    )
    with monkeypatch.context() as then:
        then.setattr(migrations, "NEWEST", "0001")
        assert migrate(old) == (None, "0001")
    change(
        old,
        "INSERT INTO attempts (job_id, attempt, dispatch_id, outcome, tier, model, model_revision, price_version, policy_version, "
        "fleet_version, simulated, engine_s, input_tokens, cached_tokens, output_tokens, reasoning_tokens, images, audio_seconds) "
        "VALUES (1, 1, 1, 'succeeded', 'llm', 'fast', '', 1, 1, 1, true, 0, 1, 0, 1, 0, 0, 0)",
    )
    change(
        old,
        "INSERT INTO transfers (job_id, attempt, kind, debit_account, credit_account, amount_usd, tenant_id, project_id, api_key_id, "
        "batch_id, tier, model, price_version) VALUES (1, 1, 'cost', 'cost:caller', 'model:fast', 0.05, 1, 1, 1, 0, 'llm', 'fast', 1)",
    )
    with pytest.raises(InvalidConfig, match=r"needs 0010 or later. Run `rightsize migrate`"):
        check_schema(old)
    assert migrate(old) == ("0001", migrations.NEWEST)
    with old.unit_of_work() as session:
        assert session.execute(text("SELECT interval_id FROM attempts")).all() == [(None,)]
        assert session.execute(text("SELECT sum(amount_usd), count(*) FROM ledger_entries")).all() == [(0, 2)]
    old.close()


@pytest.mark.parametrize("revision", ["9999", "0000", "abc"])
def test_a_schema_of_another_release_is_named_and_left_as_it_is(database: Database, revision: str) -> None:
    change(database, f"UPDATE alembic_version SET version_num = '{revision}'")
    for step in (migrate, check_schema):
        with pytest.raises(InvalidConfig, match=f"schema is {revision}, which this release does not know"):
            step(database)
    database.close()


def test_tables_without_a_revision_are_not_taken_for_an_empty_database(database: Database) -> None:
    change(database, "DELETE FROM alembic_version")
    with pytest.raises(InvalidConfig, match=r"no revision of Rightsize's schema: give an empty database"):
        migrate(database)
    with pytest.raises(InvalidConfig, match=r"Run `rightsize migrate`"):
        check_schema(database)
    database.close()
