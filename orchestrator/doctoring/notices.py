"""What people should know though nothing is wrong: keys that end, budgets that are used up, batches that stand still."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.doctoring.finding import Finding
from orchestrator.store import examination
from orchestrator.store.examination import MOST_COUNTED, Noticed
from orchestrator.store.session import Database


def examine(database: Database) -> Iterator[Finding]:
    """One finding for each kind of thing that there is just now."""
    with database.unit_of_work() as session:
        found = examination.notice(session)
    for one in found:
        yield Finding(one.notice.name, not one.notice.fault, _told(one))


def _told(found: Noticed) -> str:
    count = f"{found.count:,}" if found.count < MOST_COUNTED else f"{MOST_COUNTED:,} or more"
    more = found.count - len(found.examples)
    examples = ", ".join(found.examples) + (" and others" if more else "")
    return f"{count} {found.notice.says}: {examples}. {found.notice.remedy}"
