"""A database that was away: what lay idle in a pool meanwhile is not handed to anybody."""

from __future__ import annotations

import os
import signal

from sqlalchemy import text

from orchestrator.errors import ServiceUnavailable
from orchestrator.store.session import Database
from tests.stack import Stack, until

HELD = 4


def test_f17_no_connection_that_the_server_ended_while_it_lay_idle_is_used(own_stack: Stack) -> None:
    database = Database(own_stack.settings, "orchestrator", connections=HELD)
    connections = [database.engine.connect() for _ in range(HELD)]
    for connection in connections:
        connection.execute(text("SELECT 1"))
        connection.close()
    assert own_stack.instance is not None
    part = own_stack.instance.state.part("postgres")
    assert part is not None
    os.kill(part.pid, signal.SIGKILL)

    def is_back() -> bool:
        other = Database(own_stack.settings, "orchestrator", connections=1)
        try:
            with other.unit_of_work() as session:
                return session.execute(text("SELECT true")).scalar_one()
        except ServiceUnavailable:
            return False
        finally:
            other.close()

    until(lambda: own_stack.instance.state.part("postgres").pid != part.pid and is_back(), 60, "it is started again")  # type: ignore[union-attr]
    for _ in range(HELD):
        with database.unit_of_work() as session:
            assert session.execute(text("SELECT 1")).scalar_one() == 1
    database.close()
