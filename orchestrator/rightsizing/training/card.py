"""A specialist's card: what people should know before they trust it, as Markdown beside the model. Pure."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.learned.record import TrainingRecord

_WORST: Final = 10
_CODE: Final = str.maketrans({"`": "'", "\n": " ", "|": "/", "<": "(", ">": ")"})


def card(record: TrainingRecord) -> str:
    """The card of one version."""
    parts = [_head(record), _data(record), _figures(record), _limits(record), _stands_on(record), _again(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(record: TrainingRecord) -> str:
    what = "n-grams" if record.encoder is None else f"sentence vectors of {record.encoder['model']}, and n-grams"
    return (
        f"# Specialist for `{record.task}`\n\n"
        f"Version `{record.version}`, trained {record.trained_at} in {record.seconds:.0f} s on a CPU. It looks at {what}, and gives one of "
        f"{len(record.labels)} labels.\n\n"
        f"Model SHA-256 `{record.model_sha256}`"
    )


def _data(record: TrainingRecord) -> str:
    splits = record.splits
    lines = [
        ["rows", f"{record.n:,}"],
        ["rows whose text came before", f"{record.duplicates:,}"],
        ["texts fitted on", f"{splits.get('fit', 0):,}"],
        ["texts kept aside to certify, never fitted on", f"{splits.get('certify', 0):,}"],
        ["texts left out", f"{splits.get('left_out', 0):,}"],
        ["texts with several labels", f"{splits.get('contradictory', 0):,}"],
        ["labels that look wrong", f"{record.label_noise.get('n', 0):,}"],
        ["SHA-256 of texts and labels", f"`{record.data_sha256}`"],
        ["seed of the split", str(record.seed)],
    ]
    return "## Data\n\n" + _table(["what", "how much"], lines)


def _figures(record: TrainingRecord) -> str:
    found = record.cross_fitted
    lines = []
    if record.held_out_n:
        lines.append(
            ["right, by heads that had not seen the text", f"{record.held_out_accuracy:.2%} of {record.held_out_n:,}"]
        )
        lines.append(["the commonest label alone", f"{record.baseline_accuracy:.2%}"])
    if found:
        lines.append(["mean error of the confidence", f"{found['calibration_error']:.2%}"])
        lines.append(["mean error of the score", f"{found['score_error']:.2%}"])
    worst = sorted(record.per_class.items(), key=lambda one: (one[1]["recall"], one[0]))[:_WORST]
    rows = [
        [_code(label), f"{row['n']:.0f}", f"{row['precision']:.1%}", f"{row['recall']:.1%}"]
        for label, row in worst
        if row["n"]
    ]
    text = "## Figures\n\n" + (_table(["what", "figure"], lines) if lines else "None: too few rows.")
    if rows:
        text += "\n\nThe labels that it finds least:\n\n" + _table(["label", "rows", "precision", "recall"], rows)
    return text


def _limits(record: TrainingRecord) -> str:
    lines = [
        "- A certificate, not this card, says where it may answer alone.",
        "- It gives its labels and no others. A text unlike those that it learned gets the score 0.",
    ]
    if record.encoder is not None:
        lines.append("- Sentence vectors are for English; of other languages only the n-grams tell it something.")
    return "\n".join(["## Limits", "", *lines, *(f"- {note.translate(_CODE)}" for note in record.notes)])


def _stands_on(record: TrainingRecord) -> str:
    lines = [["your labelled rows", "yours"]]
    if record.encoder is not None:
        lines.append([f"{record.encoder['model']} (`{record.encoder['sha256']}`)", str(record.encoder["licence"])])
    return "## What it stands on\n\n" + _table(["what", "licence"], lines)


def _again(record: TrainingRecord) -> str:
    used = ", ".join(f"{name} {version}" for name, version in sorted(record.libraries.items()))
    options = ", ".join(f"{name} {value}" for name, value in sorted(record.options.items()))
    return f"## To train the same again\n\nThe same rows and seed, with: {used}.\n\nOptions: {options}."


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: Any) -> str:
    return f"`{str(text).translate(_CODE)}`"
