"""JSONL bombs: files are read as a stream in little memory, what is wrong is told with its exact line, and others wait for nobody. A9."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import orjson
import psutil
import pytest

from orchestrator import ids
from orchestrator.flow import read as reading
from orchestrator.flow.context import open_context
from orchestrator.flow.lines import Line, bounded_lines
from orchestrator.settings import MIB, Settings
from orchestrator.store import files
from orchestrator.store.files import NewFile
from tests.attacks.alone import Alone, Grown, within
from tests.attacks.conftest import with_settings
from tests.serving import Api
from tests.stack import OWNER, chat, row, until

BOM = b"\xef\xbb\xbf"
GIB = 1024 * MIB


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    """Limits as they are by default."""
    return with_settings(module_settings, max_file_bytes=2 * GIB, max_row_bytes=32 * MIB)


def line(number: object, **more: object) -> bytes:
    return orjson.dumps(row(f"row-{number}", chat("x"), **more)) + b"\n"


def uploaded(api: Api, content: Iterable[bytes]) -> str:
    """Stream a file up, piece by piece; returns its id."""

    def form() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        yield from content
        yield b"\r\n--b--\r\n"

    made = api.http.post("/v1/files", content=form(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def submitted(api: Api, file_id: str, **hints: object) -> str:
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "rightsize": hints,
    }
    made = api.post("/v1/batches", body)
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def read(api: Api, batch_id: str, within_s: float = 60.0) -> dict[str, object]:
    """A batch once it has ended."""
    ended = ("completed", "failed")
    found: dict[str, object] = until(
        lambda: (b := api.http.get(f"/v1/batches/{batch_id}").json())["status"] in ended and b, within_s
    )
    return found


def errors(batch: dict[str, object]) -> list[tuple[str, int | None]]:
    data = batch["errors"]["data"]  # type: ignore[index]
    return [(one["code"], one["line"]) for one in data]


def grown_while_read(api: Api) -> Grown:
    return Grown(psutil.Process(api.stack.processes[0].pid))


def test_a9_one_line_of_a_gigabyte_is_told_with_its_number_and_never_stands_in_memory(api: Api) -> None:
    key = f"inputs/{ids.uuid7().hex}"
    with api.stack.context.blobs.writing(key) as file:  # sparse: a gigabyte that takes no room
        file.write(line(1))
        file.seek(GIB, io.SEEK_CUR)
        file.write(b"\n" + line(3))
        size = file.tell()
    with api.stack.context.database.unit_of_work() as session:
        stored = files.add(session, OWNER, ids.uuid7(), NewFile("batch", "x", size, key))
    with grown_while_read(api) as grown:
        batch = read(api, submitted(api, ids.public("file", stored.public_id)))
    assert errors(batch) == [("row_too_large", 2)]
    assert grown.mib < 150, "a row may have 32 MiB"


def test_a9_a_large_upload_passes_through_the_api(alone: Alone) -> None:
    with Grown(alone.process) as grown:
        file_id = uploaded(alone.api, (b"x" * MIB for _ in range(200)))
    assert grown.mib < 40
    assert errors(read(alone.api, submitted(alone.api, file_id))) == [("row_too_large", 1)]


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \n", b"\t \r\n"], ids=["LF", "CR LF", "space", "tab"])
def test_a9_ten_million_empty_lines_cost_a_moment(api: Api, blank: bytes) -> None:
    many = [blank * 100_000] * 100
    with grown_while_read(api) as grown, within(30):
        nothing, one = (submitted(api, uploaded(api, content)) for content in (many, [*many, line("last"), b"{oops\n"]))
        assert errors(read(api, nothing)) == [("empty_file", None)]
        assert errors(read(api, one)) == [("invalid_json_line", 10_000_002)]
    assert grown.mib < 50


def test_a9_a_mark_of_byte_order_at_the_start_is_left_out_and_anywhere_else_is_an_error(api: Api) -> None:
    assert read(api, submitted(api, uploaded(api, [BOM, line(1), line(2)])))["status"] == "completed"
    assert errors(read(api, submitted(api, uploaded(api, [line(1), BOM + line(2)])))) == [("invalid_json_line", 2)]
    assert errors(read(api, submitted(api, uploaded(api, [BOM])))) == [("empty_file", None)]
    for coding in ("utf-16", "utf-32", "utf-16-be"):
        batch = read(api, submitted(api, uploaded(api, [line(1).decode().encode(coding)])))
        assert errors(batch)[0] == ("invalid_json_line", 1), coding


def test_a9_returns_alone_end_no_line(api: Api) -> None:
    batch = read(api, submitted(api, uploaded(api, [line(n).replace(b"\n", b"\r") for n in range(1_000)])))
    assert errors(batch) == [("invalid_json_line", 1)]
    mixed = [line(1).replace(b"\n", b"\r\n"), b"\r\n", b"\r", b"\n", line(2).rstrip(b"\n")]
    assert read(api, submitted(api, uploaded(api, mixed)))["request_counts"] == {
        "total": 2,
        "completed": 2,
        "failed": 0,
    }


def test_a9_a_custom_id_that_comes_again_is_told_where_it_comes_again(api: Api) -> None:
    lines = [line(n) for n in range(5_000)]
    lines[4_321] = line(7)
    assert errors(read(api, submitted(api, uploaded(api, lines)))) == [("duplicate_custom_id", 4_322)]
    same = read(api, submitted(api, uploaded(api, [line("same")] * 1_000)))
    assert errors(same) == [*(("duplicate_custom_id", n) for n in range(2, 102)), ("more_errors", None)]


def test_a9_one_bad_line_among_fifty_thousand_is_found_by_its_number(api: Api) -> None:
    lines = [line(n) for n in range(50_000)]
    lines[31_415] = b'{"custom_id": "row-31415", "method": "POST"\n'
    lines.insert(10_000, b"\n" * 10)
    batch = read(api, submitted(api, uploaded(api, lines)))
    assert errors(batch) == [("invalid_json_line", 31_426)]
    left = "SELECT count(*) FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE b.status = 'failed'"
    until(lambda: api.stack.count(left) == 0, 30, "its rows are taken away")


def test_a9_a_file_of_rubbish_is_told_of_a_hundred_times_and_no_more(api: Api) -> None:
    with grown_while_read(api) as grown:
        batch = read(api, submitted(api, uploaded(api, [b"x\n" * 100_000, b"[]\n" * 100_000])))
    assert len(errors(batch)) == 101
    assert errors(batch)[99:] == [("invalid_json_line", 100), ("more_errors", None)]
    assert grown.mib < 50


def test_a9_a_file_with_too_many_rows_is_not_read_to_its_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gigabytes of rubbish once were read to their end before anybody else's file."""
    numbers: list[int] = []

    def counted(source: BinaryIO, most: int) -> Iterator[Line]:
        for one in bounded_lines(source, most):
            numbers.append(one.number)
            yield one

    monkeypatch.setattr(reading, "bounded_lines", counted)
    orchestrator = psutil.Process(api.stack.processes[0].pid)
    orchestrator.suspend()
    context = open_context(with_settings(api.stack.settings, max_batch_rows=100), "orchestrator", connections=2)
    try:
        batch_id = submitted(api, uploaded(api, [line(n) for n in range(3_000)]))
        inner = api.stack.count("SELECT id FROM batches WHERE public_id = :id", id=batch_id.removeprefix("batch_"))
        reading.read_batch(context, inner)
        assert errors(read(api, batch_id)) == [("too_many_rows", 101)]
    finally:
        context.close()
        orchestrator.resume()
    assert max(numbers) == 101


@pytest.mark.parametrize("buffer", [1, 2, 3, 7, 8_192])
def test_a9_blank_lines_are_counted_wherever_a_buffer_ends(buffer: int) -> None:
    parts = [b"\n", b"\n\n\n", b" \n", b"\r\n", b"a\n", b"bb", b"\t", b" ", b"\r", b"\x0b\n", b"\x00\n"]
    chosen = random.Random(buffer)
    for _ in range(500):
        data = b"".join(chosen.choice(parts) for _ in range(chosen.randint(0, 40)))
        found = [(one.number, one.content) for one in bounded_lines(io.BufferedReader(io.BytesIO(data), buffer), 100)]
        lines = [(number, raw.strip(b"\r\n \t")) for number, raw in enumerate(data.split(b"\n"), 1)]
        assert found == [(number, raw) for number, raw in lines if raw], data


def test_a9_nothing_is_lost_by_any_of_it(api: Api) -> None:
    assert api.stack.doctor() == []
    assert not list(api.stack.context.blobs.root.rglob(".writing-*"))
