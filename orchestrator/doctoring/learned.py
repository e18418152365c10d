"""Whether what was learned is as it was written: the specialists that answer, and the router. Without the extra that reads them, that is said."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from orchestrator.doctoring.finding import Finding
from orchestrator.errors import RightsizeError
from orchestrator.fleet import Fleet
from orchestrator.settings import Settings
from orchestrator.store.rightsizing import stages
from orchestrator.store.session import Database


def examine(settings: Settings, fleet: Fleet, database: Database) -> Iterator[Finding]:
    """One finding for all specialists and one for the router; none where nothing was learned."""
    has_specialists, has_router = ((settings.blobs / name).is_dir() for name in ("specialists", "routers"))
    if not (has_specialists or has_router):
        return
    if find_spec("numpy") is None:
        yield Finding("learned", True, "Specialists and routers were not looked at: install rightsize[slm] for that.")
        return
    if has_specialists:
        yield _specialists(settings, database)
    if has_router:
        yield from _router(settings, fleet)


def _specialists(settings: Settings, database: Database) -> Finding:
    """The newest version of each task, and those that stages ask."""
    from orchestrator.learned import specialist

    wrong: list[str] = []
    folders = set()
    for task in specialist.tasks_with_specialists(settings.blobs):
        try:
            folders.add(specialist.current_folder(settings.blobs, task))
        except RightsizeError as error:
            wrong.append(error.message)
    with database.unit_of_work() as session:
        asked = [(row.task, row.specialist) for row in stages.every(session)]
    folders |= {specialist.version_folder(settings.blobs, task, version) for task, version in asked}
    found = sorted(folder for folder in folders if folder is not None)
    for folder in found:
        try:
            specialist.check(folder)
        except RightsizeError as error:
            wrong.append(error.message)
    return Finding("specialists", not wrong, " ".join(wrong) or f"{len(found)} as they were written")


def _router(settings: Settings, fleet: Fleet) -> Iterator[Finding]:
    from orchestrator.learned import router_folder

    try:
        folder = router_folder.current(settings.blobs)
        if folder is None:
            return
        models = router_folder.check(folder)
    except RightsizeError as error:
        yield Finding("router", False, error.message)
        return
    strangers = [model for model in models if model not in fleet.by_name]
    told = (
        f"Nothing goes by it to {', '.join(strangers)}: no model of the fleet has that name."
        if strangers
        else "as it was written"
    )
    yield Finding("router", True, told)
