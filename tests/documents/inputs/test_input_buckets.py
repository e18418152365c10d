"""Objects of a bucket as documents: listed in pages, copied when their turn comes, whatever their keys are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from orchestrator.documents.inputs import Wanted, check, inputs_of, keys, name_of
from orchestrator.errors import InvalidRequest
from tests.documents.inputs.taken import MIB, taken, why
from tests.s3 import S3Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serving() as running:
        yield running


class Bucket:
    """A bucket, and what is put into it by somebody who may use any key."""

    def __init__(self, server: S3Server) -> None:
        self.name = server.new_bucket()
        self.client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )

    def put(self, objects: Mapping[str, bytes]) -> None:
        for key, content in objects.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=content)


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    made = Bucket(server)
    yield made
    made.client.close()


def test_every_object_below_a_prefix_is_a_document_named_by_the_rest_of_its_key(bucket: Bucket, spool: Path) -> None:
    keys_ = ["in/a.txt", "in/50% #?.txt", "in/deep/ü.txt", "in/empty.txt", "in2/b.txt", "c.txt"]
    bucket.put({key: b"" if "empty" in key else key.encode() for key in keys_})
    expected = [
        ("50% #?.txt", b"in/50% #?.txt"), ("a.txt", b"in/a.txt"), ("deep/ü.txt", "in/deep/ü.txt".encode()), ("empty.txt", "empty_file"),
    ]  # fmt: skip
    check(Wanted(f"s3://{bucket.name}/in"))
    assert taken(f"s3://{bucket.name}/in", spool) == expected
    assert taken(f"s3://{bucket.name}/in/", spool) == expected
    assert len(taken(f"s3://{bucket.name}", spool)) == 6
    assert taken(f"s3://{bucket.name}/in/a.txt", spool) == [("a.txt", b"in/a.txt")]


def test_marks_of_folders_are_no_documents(bucket: Bucket, spool: Path) -> None:
    bucket.put({"in/": b"", "in/deep/": b"", "in/deep/a.txt": b"a"})
    assert taken(f"s3://{bucket.name}/in", spool) == [("deep/a.txt", b"a")]


def test_an_object_is_copied_when_it_is_opened_and_once(bucket: Bucket, spool: Path) -> None:
    content = bytes(range(256)) * (9 * MIB // 256) + b"end"
    bucket.put({"large.bin": content})
    (one,) = inputs_of(Wanted(f"s3://{bucket.name}"), spool)
    assert list(spool.iterdir()) == []
    for _ in range(2):
        with one.open() as stream:
            assert stream.read() == content
        assert [copy.name for copy in spool.iterdir()] == ["1"]
    one.done()
    assert list(spool.iterdir()) == []


def test_an_object_that_is_too_large_is_not_fetched(bucket: Bucket, spool: Path) -> None:
    bucket.put({"a.bin": bytes(64 * MIB + 1), "b.txt": b"b"})
    assert taken(f"s3://{bucket.name}", spool) == [("a.bin", "file_too_large"), ("b.txt", b"b")]


def test_an_object_that_changes_or_goes_after_it_was_listed_says_so(bucket: Bucket, spool: Path) -> None:
    bucket.put({"a.txt": b"first", "b.txt": b"second"})
    a, b = inputs_of(Wanted(f"s3://{bucket.name}"), spool)
    bucket.put({"a.txt": b"other"})
    bucket.client.delete_object(Bucket=bucket.name, Key="b.txt")
    for one, said in ((a, "changed"), (b, "vanished")):
        with pytest.raises(InvalidRequest, match=said):
            one.open()
    assert list(spool.iterdir()) == []


BAD = ["in/../evil.txt", "in/./evil.txt", "in//evil.txt", "in/m/..", "in/m//x/../y", "in/q/..\\z/../w"]


@pytest.mark.parametrize("page", ["1000", "2"])
@pytest.mark.parametrize("bad", BAD)
def test_a14_a_key_with_a_trick_in_it_is_told_and_stops_no_other(
    bad: str, page: str, bucket: Bucket, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", page)
    good = ["in/a.txt", "in/m/a.txt", "in/m/z/a.txt", "in/x.txt", "in/z.txt", "in/0", "in/k/a/b/c.txt"]
    good += ["in/..0"] if bad.startswith("in/../") else []
    bucket.put({key: key.encode() for key in [*good, bad]})
    found = taken(f"s3://{bucket.name}/in", spool)
    read = {name: content for name, content in found if isinstance(content, bytes)}
    assert read == {key.removeprefix("in/"): key.encode() for key in good}
    assert [code for _, code in found if isinstance(code, str)] == ["unreadable_file"]
    assert all(".." not in name.split("/") and not name.startswith("/") for name, _ in found)
    assert list(spool.parent.rglob("*evil*")) == []


@pytest.mark.parametrize("page", ["1000", "2"])
def test_a14_what_a_trick_hides_within_its_folder_is_told_and_what_is_behind_it_is_read(
    page: str, bucket: Bucket, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", page)
    bucket.put(dict.fromkeys(("in/a/a.txt", "in/b/l.txt", "in/b/m\x01.txt", "in/b/n.txt", "in/c/a.txt"), b"x"))
    found = dict(taken(f"s3://{bucket.name}/in", spool))
    assert {name for name, content in found.items() if content == b"x"} >= {"a/a.txt", "b/n.txt", "c/a.txt"}
    (message,) = why(f"s3://{bucket.name}/in", spool)
    assert "before it in 'in/b' may be missing" in message


def test_a14_many_keys_with_tricks_are_all_told(bucket: Bucket, spool: Path) -> None:
    bucket.put({f"in/\x01{number:03}.txt": b"bad" for number in range(60)} | {"in/a.txt": b"a", "in/deep/b.txt": b"b"})
    found = taken(f"s3://{bucket.name}/in", spool)
    assert [one for one in found if isinstance(one[1], bytes)] == [("a.txt", b"a"), ("deep/b.txt", b"b")]
    assert len(found) == 3, "keys that are bad at the same place are told once"


def test_more_objects_than_a_page_holds_are_listed_one_page_at_a_time(
    bucket: Bucket, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    monkeypatch.setattr(keys, "LISTED_AT_ONCE", 10)
    bucket.put({f"in/{number:05}.txt": b"x" for number in range(95)})
    inputs = inputs_of(Wanted(f"s3://{bucket.name}/in"), spool)
    assert next(inputs).name == "00000.txt"
    bucket.put({"in/00090x.txt": b"new"})
    names = [one.name for one in inputs]
    assert len(names) == 95
    assert "00090x.txt" in names, "later pages are listed later"


@pytest.mark.parametrize("missing", ["no-such-bucket", "{}/nothing/there"])
def test_a_place_with_nothing_in_it_is_refused(missing: str, bucket: Bucket, spool: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no bucket|no objects"):
        list(inputs_of(Wanted(f"s3://{missing.format(bucket.name)}"), spool))


def test_a_listing_that_breaks_off_is_told_behind_what_was_listed(
    bucket: Bucket, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put({"a.txt": b"a"})

    def broken(_: object, prefix: str) -> Iterator[Any]:
        yield keys.Seen("a.txt", 1, None)
        raise OSError("connection reset")

    monkeypatch.setattr(keys.Objects, "below", broken)
    assert [name for name, _ in taken(f"s3://{bucket.name}", spool)] == ["a.txt", f"s3://{bucket.name}"]


def test_a_server_that_is_away_is_refused_with_what_to_check(
    bucket: Bucket, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InvalidRequest, match="AWS_ENDPOINT_URL"):
        list(inputs_of(Wanted(f"s3://{bucket.name}"), spool))


@pytest.mark.parametrize(
    "place", ["s3://", "s3://UPPER", "s3://bucket/a//b", "s3://bucket/../x", "s3://key:secret@bucket/x"]
)
def test_a_place_that_is_none_is_refused_at_once(place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(Wanted(place))
    assert "secret" not in refused.value.message.lower().replace("aws_secret", "")


def test_without_obstore_a_bucket_names_the_extra(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(InvalidRequest, match=r"rightsize\[server\]"):
        check(Wanted(f"s3://{bucket.name}"))


def test_a_batch_is_named_by_the_end_of_the_prefix() -> None:
    assert name_of(Wanted("s3://bucket/a/invoices/")) == "invoices"
    assert name_of(Wanted("s3://bucket")) == "bucket"
