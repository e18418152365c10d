"""I6: only the steps of `lifecycle.NEXT` happen. A trigger of the test's own watches every row of the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orchestrator.contracts import JobState
from orchestrator.flow import cancel
from orchestrator.lifecycle import BORN, NEXT
from orchestrator.store.session import Database
from tests.stack import OWNER, Stack, chat, row, rows, until

STEPS = {(before, after) for before, following in NEXT.items() for after in following}
WATCH = f"""
    CREATE TABLE seen (before smallint NOT NULL, after smallint NOT NULL, PRIMARY KEY (before, after));
    GRANT SELECT, INSERT ON seen TO rightsize_app, rightsize_orchestrator, rightsize_worker;
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE before smallint = CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.state END;
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.state = before THEN RETURN NEW; END IF;
        IF (before, NEW.state) NOT IN ({", ".join(f"({a:d}, {b:d})" for a, b in [*((0, born) for born in BORN), *STEPS])}) THEN
            RAISE EXCEPTION 'no step leads from % to %', before, NEW.state;
        END IF;
        INSERT INTO seen VALUES (before, NEW.state) ON CONFLICT DO NOTHING;
        RETURN NEW;
    END $$;
    CREATE TRIGGER watch BEFORE INSERT OR UPDATE OF state ON jobs FOR EACH ROW EXECUTE FUNCTION watch();
"""


@pytest.fixture
def watched(stack: Stack) -> Iterator[Database]:
    """The owner's database with the watching trigger in it."""
    with closing(Database(stack.settings, "owner", connections=1)) as owner:
        with owner.unit_of_work() as session:
            session.execute(text(WATCH))
        yield owner


def test_only_steps_of_the_table_happen_while_work_succeeds_fails_and_is_cancelled(
    stack: Stack, watched: Database
) -> None:
    stack.orchestrator()
    stack.worker("llm")
    mixed = [
        *rows(40),
        *(row(f"again-{n}", chat(f"[[fail:500:1]] {n}")) for n in range(5)),
        *(row(f"never-{n}", chat(f"[[fail:500]] {n}")) for n in range(5)),
        *(row(f"wrong-{n}", chat(f"[[fail:400]] {n}")) for n in range(5)),
        row("unreadable", chat("x", colour="red")),
    ]
    batch = stack.submit(mixed, hints={"on_invalid_row": "report"})
    ended = stack.wait(batch)
    assert (ended.final["completed"], ended.final["failed"]) == (45, 11)
    stack.must_hold(batch, len(mixed))
    long, without_a_worker = chat("[[sleep:60]]"), {**chat("x"), "model": "rlm"}
    stopped = stack.submit([row("long", long), row("queued", without_a_worker)])
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE batch_id = :id AND state = 2", id=stopped))
    cancel.cancel_batch(stack.context, OWNER, stack.batch(stopped).public_id)
    stack.wait(stopped)
    stack.must_hold(stopped, 2)
    seen = {(step.before, JobState(step.after)) for step in stack.query("SELECT before, after FROM seen")}
    queued, assigned, waiting = JobState.QUEUED, JobState.ASSIGNED, JobState.WAITING
    assert seen >= {
        (0, queued), (0, JobState.FAILED), (queued, assigned), (assigned, waiting), (waiting, queued),
        (assigned, JobState.SUCCEEDED), (assigned, JobState.FAILED), (queued, JobState.CANCELLED), (assigned, JobState.CANCELLED),
    }  # fmt: skip


def test_the_watch_sees_a_step_that_no_table_has(stack: Stack, watched: Database) -> None:
    batch = stack.submit(rows(1))
    stack.orchestrator()
    stack.worker("llm")
    stack.wait(batch)
    with pytest.raises(DBAPIError, match="no step leads from 10 to 1"), watched.unit_of_work() as session:
        session.execute(text("UPDATE jobs SET state = 1"))
