"""What can never work is refused at once, with what to do; and what is made of a place has a short name."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from orchestrator.documents.inputs import Wanted, check, inputs_of, name_of
from orchestrator.errors import InvalidRequest


def test_what_is_there_and_readable_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    for place in (tmp_path, tmp_path / "a.txt", tmp_path / "*.txt"):
        check(Wanted(str(place)))
    check(Wanted("-", stdin=io.BytesIO(b"x")))


@pytest.mark.parametrize(
    "place, said",
    [("none.txt", "does not exist"), ("link", "does not exist"), ("a\0b", "cannot be read"), ("x" * 300, "cannot be read"), ("*.pdf", "nothing")],
)  # fmt: skip
def test_a_place_that_is_none_is_refused_at_once(
    place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match=said) as refused:
        check(Wanted(place))
    assert refused.value.message.count(".") >= 2, "cause and remedy"


def test_what_may_not_be_read_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InvalidRequest, match="change its mode"):
        check(Wanted(str(tmp_path / "a.txt")))


def test_standard_input_that_is_closed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="closed"):
        check(Wanted("-"))
    with pytest.raises(InvalidRequest, match="closed"):
        inputs_of(Wanted("-"), tmp_path)


@pytest.mark.parametrize(
    "place, name",
    [("a/invoices", "invoices"), ("a/b.csv", "b.csv"), ("-", "stdin"), (".", "documents"), ("/", "documents"), ("a\nb", "a\ufffdb")],
)  # fmt: skip
def test_a_batch_has_a_short_name(place: str, name: str) -> None:
    assert name_of(Wanted(place)) == name


def test_a_name_is_bounded() -> None:
    assert len(name_of(Wanted("x" * 10_000))) <= 100
