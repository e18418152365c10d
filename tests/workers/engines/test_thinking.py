"""A thought is told from its marks while it is written, whatever pieces it comes in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as some

from workers.engines.thinking import Listening, Marks

MARKS = Marks("<think>", "</think>")
TEXTS = some.lists(
    some.sampled_from(["<think>", "</think>", "<", "</", "</thi", "think>", " ", "\n\n", "a", "so it is", ">"]), max_size=12
).map("".join)  # fmt: skip


def thought_in(text: str, *, opened: bool) -> str | None:
    """The thought of a whole text, found without haste; None where there is none."""
    said = text.lstrip()
    if said.startswith(MARKS.begin):
        said = said.removeprefix(MARKS.begin)
    elif not opened:
        return None
    return said.partition(MARKS.end)[0].strip()


@given(text=TEXTS, cuts=some.lists(some.integers(0, 80), max_size=8), opened=some.booleans())
@example(text="<think>so</think>", cuts=[3, 9, 12], opened=False)
@example(text=" \n", cuts=[1], opened=True)
@example(text="a </thi", cuts=[2, 4], opened=True)
def test_a_thought_in_pieces_is_the_thought_of_the_whole(text: str, cuts: list[int], opened: bool) -> None:
    listening = Listening(MARKS, opened=opened)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    told = [listening.add(text[start:end]) for start, end in pairwise(places)]
    told.append(listening.end())
    expected = thought_in(text, opened=opened)
    assert listening.inside == (expected is not None)
    assert "".join(told) == (expected or "")
    if expected is not None:
        assert listening.closed == (MARKS.end in text.lstrip().removeprefix(MARKS.begin))


def test_words_of_a_thought_are_told_as_soon_as_no_mark_can_begin_with_them() -> None:
    listening = Listening(MARKS, opened=False)
    assert [listening.add(piece) for piece in ("<thi", "nk>", "\n", "So", " it", " <", "b>", "</th", "ink>", "Yes")] == [
        "", "", "", "So", " it", "", " <b>", "", "", "",
    ]  # fmt: skip
    assert listening.closed


def test_what_begins_otherwise_is_no_thought_from_its_first_word_on() -> None:
    listening = Listening(MARKS, opened=False)
    listening.add(" <th")
    assert listening.may_begin
    listening.add("e answer")
    assert not listening.may_begin
    assert listening.end() == ""
