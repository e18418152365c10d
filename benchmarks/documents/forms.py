"""Answers of which a fifth is broken in ten ways: what is delivered as success has its form, and nearly all that can be mended is delivered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import jsonschema_rs

from benchmarks.documents.running import SCHEMA, Service, service, settled
from benchmarks.report import Row, Scale, at_least, at_most, told
from workers.engines._simulated.answer import fate_of
from workers.engines._simulated.broken import WAYS
from workers.engines._simulated.options import Options

ROWS: Final = 1_000
OPTIONS: Final = Options(breaks=0.2, mends=0.95, seed=5)
"""One in twenty of the broken ones stays broken: nothing can be made of it."""
REPAIRED: Final = 0.90
FLEET: Final = f"""
[models.sloppy]
tier = "llm"
engine = "simulated"
slots = 16
expected_latency_s = 0
[models.sloppy.simulate]
breaks = {OPTIONS.breaks}
mends = {OPTIONS.mends}
seed = {OPTIONS.seed}
[[models.sloppy.rates]]
request = "0.001"
"""
JOBS: Final = "SELECT j.custom_id, j.public_id FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE b.public_id = %s"


@dataclass(slots=True)
class Found:
    """What became of the rows."""

    broken: int = 0
    repairable: int = 0
    repaired: int = 0
    delivered: int = 0
    invalid: list[str] = field(default_factory=list)
    """Delivered as success, and not of their form."""
    lost: list[str] = field(default_factory=list)
    """Right at once, and not delivered."""
    ways: Counter[str] = field(default_factory=Counter)


def measure(scale: Scale) -> list[Row]:
    with service(FLEET) as running, running.client() as client:
        file = client.upload(_lines(scale.of(ROWS)), filename="forms.jsonl")
        batch = client.create_batch(file["id"])
        ended = settled(running, batch["id"])
        assert ended["status"] == "completed", ended
        answers = {line["custom_id"]: line for line in client.results(dict(ended))}
        found = judged(answers, _job_ids(running, batch["id"]))
    return rows(found, scale.of(ROWS))


def judged(answers: Mapping[str, Any], job_ids: Mapping[str, str]) -> Found:
    """Each row by what its job was fated to: whether its answer was broken, and whether it could be mended."""
    found, validator = Found(), jsonschema_rs.validator_for(dict(SCHEMA))
    for custom_id, job_id in job_ids.items():
        fate, text = fate_of(job_id, OPTIONS), _delivered(answers[custom_id])
        found.delivered += text is not None
        if text is not None and not _is_valid(text, validator):
            found.invalid.append(f"{custom_id}: {text[:80]}")
        if not fate.is_broken:
            found.lost += [custom_id] if text is None else []
            continue
        found.broken += 1
        found.repairable += fate.is_mended
        found.repaired += fate.is_mended and text is not None
        found.ways[list(WAYS)[fate.way]] += 1
    return found


def rows(found: Found, count: int) -> list[Row]:
    ways = ", ".join(f"{way} {number}" for way, number in sorted(found.ways.items()))
    return [
        at_least("forms: valid, of those delivered as success", 1 - len(found.invalid) / max(1, found.delivered), 1, "",
                 note=f"{found.delivered} of {count} rows delivered; by a validator of its own. {'; '.join(found.invalid[:3])}"),
        at_least("forms: delivered, of the broken ones that can be mended", found.repaired / max(1, found.repairable), REPAIRED, "",
                 note=f"{found.repairable} of {found.broken} broken ones, in {len(found.ways)} ways: {ways}"),
        at_most("forms: right at once, and not delivered", len(found.lost), 0, "", note=", ".join(found.lost[:5])),
        told("forms: broken at first", found.broken / count, "", note=f"the engine breaks {OPTIONS.breaks:.0%}"),
    ]  # fmt: skip


def _lines(count: int) -> Iterator[bytes]:
    form = {"type": "json_schema", "json_schema": {"name": "bill", "schema": SCHEMA}}
    for number in range(count):
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": f"What does bill {number} say?"}],
            "response_format": form,
        }
        row = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield json.dumps(row).encode() + b"\n"


def _job_ids(running: Service, batch_id: str) -> dict[str, str]:
    """Engines know a job by these digits."""
    with running.stack.connect() as connection:
        found: Sequence[tuple[str, UUID]] = connection.execute(JOBS, [batch_id.removeprefix("batch_")]).fetchall()
    return {custom_id: public_id.hex for custom_id, public_id in found}


def _delivered(line: Mapping[str, Any]) -> str | None:
    """The text of an answer that was delivered as success."""
    response = line.get("response")
    if line.get("error") or not response or response["status_code"] != 200:
        return None
    return str(response["body"]["choices"][0]["message"]["content"])


def _is_valid(text: str, validator: jsonschema_rs.Validator) -> bool:
    try:
        return bool(validator.is_valid(json.loads(text)))
    except ValueError:
        return False
