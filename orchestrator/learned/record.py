"""Where a specialist comes from, how good it was on rows that it had not seen, and the scored rows that are kept with it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What a specialist was trained on and by which means: enough to train the very same again."""

    task: str
    version: str
    n: int
    labels: tuple[str, ...]
    class_counts: dict[str, int]
    held_out_n: int
    held_out_accuracy: float
    """Of heads that had not seen the row, on the rows that were fitted on: nobody looks at those kept aside before a certificate does.
    Where too few were fitted on for that, on the rows kept aside: too few for a certificate as well."""
    baseline_accuracy: float
    """What always answering the commonest label would have reached on the same held-out rows."""
    per_class: dict[str, dict[str, float]]
    duplicates: int
    """Rows whose text came before; they never stand on both sides of the hold-out."""
    features: int
    seed: int
    trained_at: str
    seconds: float
    libraries: dict[str, str]
    data_sha256: str
    options: dict[str, Any]
    model_sha256: str = ""
    """Of all that it answers by. The same rows, seed, options and libraries give the same on the same kind of processor."""
    encoder: dict[str, Any] | None = None
    """The sentence encoder that it stands on; None where it has n-grams alone."""
    splits: dict[str, int] = field(default_factory=dict)
    """Distinct texts: `fit`, `certify`, `left_out`, and how many of all are `contradictory`."""
    cross_fitted: dict[str, Any] = field(default_factory=dict)
    """What heads that never saw a row said of the fitted rows: `n`, `accuracy`, `calibration_error`, `weights`."""
    label_noise: dict[str, Any] = field(default_factory=dict)
    """`n` rows whose label looks wrong, and `listed` ones with their numbers in the file."""
    contradictions: dict[str, Any] = field(default_factory=dict)
    """`n` texts that have several labels, and `listed` ones with the numbers of their rows."""
    notes: tuple[str, ...] = ()
    """What whoever trained it should know, each with what to do."""

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON has it."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        return row | {"labels": list(self.labels), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Self:
        """The record that `as_dict` wrote, of this release or an older one."""
        needed = {one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING}
        known = {one.name: row[one.name] for one in fields(cls) if one.name in row or one.name in needed}
        return cls(**{**known, "labels": tuple(row["labels"]), "notes": tuple(row.get("notes", ()))})


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row kept aside to certify: fitting never saw it."""

    text_sha256: bytes
    """Of the normalised text, which itself is not kept."""
    score: float
    said: str
    given: str

    @property
    def right(self) -> bool:
        """Whether the specialist said what the label is."""
        return self.said == self.given


@dataclass(frozen=True, slots=True)
class Kept:
    """Scored rows that stay with a specialist."""

    certify: tuple[KeptRow, ...]
    """A simple random sample of the distinct texts, in no order that tells anything."""
    fitted: tuple[tuple[float, bool], ...]
    """Score and whether it was right, cross-fitted, of the rows that it was fitted on: for where to look, never for proof."""
    learned: frozenset[str]
    """The texts that it was fitted on, by the first half of their SHA-256: an evaluation on them would be that of a memory."""
    familiar: tuple[float, ...] = ()
    """Of each row of `fitted`, the share of these rows that were further from the others than it was."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "certify": [[one.text_sha256.hex(), one.score, one.said, one.given] for one in self.certify],
            "fitted": [[score, right] for score, right in self.fitted],
            "learned": sorted(self.learned),
            "familiar": list(self.familiar),
        }

    def familiarity(self, most: int) -> list[tuple[float, float]]:
        """Score and familiarity of at most so many rows, evenly taken: what drift of the texts is held against."""
        pairs = [
            (round(score, 4), round(place, 4)) for (score, _), place in zip(self.fitted, self.familiar, strict=False)
        ]
        return pairs[:: max(1, -(-len(pairs) // most))]

    def knows(self, text_sha256: bytes) -> bool:
        """Whether a text is one that it was fitted on."""
        return short(text_sha256) in self.learned

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Self:
        """What `as_dict` wrote."""
        return cls(
            tuple(
                KeptRow(bytes.fromhex(text), float(score), str(said), str(given))
                for text, score, said, given in row["certify"]
            ),
            tuple((float(score), bool(right)) for score, right in row["fitted"]),
            frozenset(map(str, row["learned"])),
            tuple(map(float, row.get("familiar", ()))),
        )


def short(text_sha256: bytes) -> str:
    """The first half of a hash, by which learned texts are known."""
    return text_sha256[:16].hex()
