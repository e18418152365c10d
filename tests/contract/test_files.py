"""`client.files`: every call that the official client has for files."""

from __future__ import annotations

import io
from pathlib import Path

import openai
import pytest

from tests.contract.sdk import Sdk
from tests.serving import Api, make_key

LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}\n'
FIELDS = {
    "id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details",
}  # fmt: skip


def upload(sdk: Sdk, content: bytes = LINE, name: str = "rows.jsonl", **more: object) -> openai.types.FileObject:
    return sdk(sdk.client.files.create(file=(name, content), purpose="batch", **more))


def test_a_file_comes_as_a_path_bytes_a_tuple_or_an_open_file(sdk: Sdk, tmp_path: Path) -> None:
    path = tmp_path / "from-path.jsonl"
    path.write_bytes(LINE)
    with path.open("rb") as opened:
        given = {
            "from-path.jsonl": path,
            "upload": LINE,
            "named.jsonl": ("named.jsonl", LINE),
            "typed.jsonl": ("typed.jsonl", io.BytesIO(LINE), "application/jsonl"),
        }
        made = {name: sdk(sdk.client.files.create(file=file, purpose="batch")) for name, file in given.items()}
        read = sdk(sdk.client.files.create(file=opened, purpose="user_data"))
    assert {name: file.filename for name, file in made.items()} == {name: name for name in given}
    assert (read.filename, read.purpose) == ("from-path.jsonl", "user_data")
    for file in (*made.values(), read):
        assert set(file.model_dump()) == FIELDS
        assert (file.object, file.bytes, file.status, file.expires_at) == ("file", len(LINE), "processed", None)
        assert sdk(sdk.client.files.content(file.id)).content == LINE


def test_a_file_expires_as_it_was_asked_to(sdk: Sdk) -> None:
    made = upload(sdk, expires_after={"anchor": "created_at", "seconds": 3_600})
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == 3_600
    for seconds in (3_599, 2_592_001):
        with pytest.raises(openai.BadRequestError) as caught:
            upload(sdk, expires_after={"anchor": "created_at", "seconds": seconds})
        assert caught.value.param == "expires_after[seconds]"
        assert "between 3,600 and 2,592,000" in caught.value.message


def test_a_file_is_read_again_waited_for_and_deleted(sdk: Sdk) -> None:
    made = upload(sdk)
    assert sdk(sdk.client.files.retrieve(made.id)) == made
    assert sdk(sdk.client.files.wait_for_processing(made.id, poll_interval=0.1, max_wait_seconds=5)) == made
    deleted = sdk(sdk.client.files.delete(made.id))
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
    for call in (sdk.client.files.retrieve, sdk.client.files.content, sdk.client.files.delete):
        with pytest.raises(openai.NotFoundError):
            sdk(call(made.id))


def test_files_are_listed_page_by_page_in_either_order_and_by_purpose(api: Api, sdk: Sdk) -> None:
    made = [upload(sdk, name=f"{number}.jsonl").id for number in range(5)]
    other = sdk(sdk.client.files.create(file=("notes.txt", b"x"), purpose="user_data")).id
    files = sdk.client.files
    assert [file.id for file in sdk.every(files.list(limit=2), 6)] == [other, *made[::-1]]
    page = sdk(files.list(limit=2, purpose="batch"))
    assert ([file.id for file in page.data], page.has_more) == (made[:2:-1], True)
    assert [file.id for file in sdk.every(files.list(purpose="batch", limit=2), 5)] == made[::-1]
    oldest = [file.id for file in sdk.every(files.list(order="asc", limit=3))]
    assert oldest[-6:] == [*made, other]
    assert len(set(oldest)) == len(oldest)
    assert [file.id for file in sdk.every(files.list(after=made[0], order="asc", limit=2, purpose="batch"))] == made[1:]


def test_content_is_read_whole_written_to_disk_and_streamed(sdk: Sdk, tmp_path: Path) -> None:
    content = LINE * 20_000
    made = upload(sdk, content)
    whole = sdk(sdk.client.files.content(made.id))
    assert whole.read() == whole.content == content
    assert whole.text == content.decode()
    sdk(whole.write_to_file(tmp_path / "written"))
    assert (tmp_path / "written").read_bytes() == content
    sdk.within(
        sdk.client.files.with_streaming_response.content(made.id), lambda found: found.stream_to_file(tmp_path / "out")
    )
    assert (tmp_path / "out").read_bytes() == content
    raw = sdk(sdk.client.files.with_raw_response.content(made.id))
    assert raw.headers["content-type"] == "application/octet-stream"
    assert int(raw.headers["content-length"]) == len(content) == made.bytes


def test_what_is_no_file_of_a_purpose_is_refused(api: Api, sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk(sdk.client.files.create(file=("x.png", b"x"), purpose="vision"))
    assert (caught.value.param, caught.value.type) == ("purpose", "invalid_request_error")
    with pytest.raises(openai.APIStatusError) as large:
        upload(sdk, b"x" * (9 * 1024 * 1024))
    assert (large.value.status_code, large.value.code) == (413, "request_too_large")


def test_another_projects_files_do_not_exist(api: Api, sdk: Sdk) -> None:
    made = upload(sdk)
    assert api.post("/v1/tenants", {"name": f"stranger-{sdk.is_async}".lower()}).status_code == 201
    tenant = api.stack.count("SELECT max(id) FROM tenants")
    project = api.stack.count("SELECT max(id) FROM projects WHERE tenant_id = :t", t=tenant)
    key = make_key(api.stack.settings, tenant_id=tenant, project_id=project)
    with sdk.other(api_key=key) as stranger:
        for call in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
            with pytest.raises(openai.NotFoundError):
                sdk(call(made.id))
        assert sdk.every(stranger.files.list()) == []
