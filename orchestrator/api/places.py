"""Places for those who wait in a request: so many in this process, and fewer of one tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.errors import Busy


@dataclass(slots=True)
class Places:
    """How many requests of each tenant wait just now; for the one thread of the API's loop."""

    _taken: Counter[int] = field(default_factory=Counter)

    @contextmanager
    def one(self, tenant_id: int, *, most: int, most_of_tenant: int, full: Busy) -> Iterator[None]:
        """A place while the block runs, counted before anything is waited for; raises `full` where none is left."""
        if self._taken.total() >= most or self._taken[tenant_id] >= most_of_tenant:
            raise full
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]
