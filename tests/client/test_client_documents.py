"""Documents through the Python client, synchronous and asynchronous, with a form that is a pydantic model."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pydantic
import pytest
from PIL import Image

from orchestrator.client import AsyncRightsize, Rightsize
from orchestrator.errors import InvalidRequest, NotFound
from tests.serving import Api


class Invoice(pydantic.BaseModel):
    """What is wanted of an invoice."""

    issuer: str
    total: float


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three invoices and an empty file."""
    made = tmp_path / "invoices"
    made.mkdir()
    for number in range(3):
        (made / f"{number}.txt").write_text(f"Invoice {number} of {tmp_path.name}: total {number}.50", "utf-8")
    (made / "empty.txt").write_bytes(b"")
    return made


def test_a_folder_is_read_estimated_and_answered_in_the_form_of_a_model(api: Api, folder: Path) -> None:
    with api.client as client:
        form = {"schema": Invoice}
        told = client.estimate_documents(folder, "extract", parameters=form)
        assert (told["rows"], told["total"]["jobs"], told["invalid_rows"]) == (4, 3, 1)
        batch = client.submit_documents(folder, "extract", parameters=form)
        lines = {line["custom_id"]: line for line in batch.results()}
        assert lines["empty.txt"]["error"]["code"] == "empty_file"
        Invoice.model_validate_json(lines["1.txt"]["response"]["body"]["choices"][0]["message"]["content"])
        again = client.submit_documents(folder, "extract", parameters=form)
        assert [one["rightsize"].get("reused") for one in again.results() if one["error"] is None] == [True] * 3


def test_the_same_for_asynchronous_code(api: Api, folder: Path) -> None:
    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as client:
            labels = {"labels": ["paid", "open"]}
            told = await client.estimate_documents(folder, "classify", parameters=labels)
            assert told["total"]["jobs"] == 3
            hints = {"tier": "llm"}
            batch = await client.submit_documents(folder, "classify", parameters=labels, rightsize=hints)
            found = [line async for line in batch.results()]
            assert len(found) == 4
            answers = [one["response"]["body"]["choices"][0]["message"]["content"] for one in found if one["response"]]
            assert {json.loads(one)["label"] for one in answers} <= {"paid", "open"}

    asyncio.run(run())


def test_a_reading_that_is_cancelled_ends_at_once(api: Api, tmp_path: Path) -> None:
    """Scans take seconds each: the thread that reads them must not outlive the call."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(60):
        Image.effect_noise((1_200, 900), 60 + number).convert("RGB").save(folder / f"{number}.png")

    async def run() -> int:
        async with AsyncRightsize(api.url, api.key) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.submit_documents(folder, "summarise"), 3)
        return len([one for one in threading.enumerate() if one.name.startswith("rightsize-read")])

    assert asyncio.run(run()) == 0


def test_an_option_that_there_is_not_is_refused(api: Api, folder: Path) -> None:
    with api.client as client, pytest.raises(TypeError, match="max_cost_usd"):
        client.submit_documents(folder, "summarise", max_cost_usd="1")  # type: ignore[call-arg]


def test_a_task_may_be_defined_with_a_model(api: Api) -> None:
    with api.client as client:
        made = client.define_task({"name": "bills", "instructions": "Read the bill.", "output_schema": Invoice})
        assert made["definition"]["output_schema"]["required"] == ["issuer", "total"]
        again = client.define_task({"name": "bills", "instructions": "Read the bill.", "output_schema": Invoice})
        assert again["version"] == made["version"]


def test_rows_of_tables_and_what_cannot_be(api: Api, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"id,text\nA,One {tmp_path.name}\nB,Two\n", "utf-8")
    labels = {"labels": ["x", "y"]}
    with api.client as client:
        batch = client.submit_documents(table, "classify", parameters=labels, text_column="text", id_column="id")
        assert {line["custom_id"] for line in batch.results()} == {"A", "B"}
        with pytest.raises(InvalidRequest, match="does not exist"):
            client.submit_documents(tmp_path / "nowhere", "classify", parameters=labels)
        with pytest.raises(NotFound):
            client.submit_documents(table, "no-such-task")
        with pytest.raises(InvalidRequest, match="not fetched"):
            client.submit_documents("https://example.com/a.pdf", "classify", parameters=labels)


def test_the_client_of_a_type_checker_knows_both(api: Api) -> None:
    assert {"submit_documents", "estimate_documents"} <= set(dir(Rightsize)) & set(dir(AsyncRightsize))
    assert api.url
