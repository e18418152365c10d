"""What is stored of a specialist is what was trained, whatever became of the files since, and old ones are still read."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import InvalidConfig, NotFound
from orchestrator.learned import specialist as specialists
from orchestrator.learned import stored
from orchestrator.rightsizing.training.evaluate import evaluate
from orchestrator.rightsizing.training.train import train
from tests.rightsizing.made_tickets import rows


def test_specialists_of_the_first_format_still_answer(tmp_path: Path) -> None:
    folder = tmp_path / "specialists" / "tickets" / "20260101T000000-00000000"
    folder.mkdir(parents=True)
    ones = np.ones(2, np.float32)
    coef = np.array([[2, 0], [0, 2]], np.float32)
    np.savez(
        folder / "model.npz",
        word_idf=ones,
        char_idf=np.zeros(0, np.float32),
        coef=coef,
        intercept=np.zeros(2, np.float32),
    )
    record = {
        "task": "tickets", "version": folder.name, "n": 4, "labels": ["card", "refund"], "class_counts": {}, "held_out_n": 0,
        "held_out_accuracy": 0.0, "baseline_accuracy": 0.0, "per_class": {}, "duplicates": 0, "features": 2, "seed": 0,
        "trained_at": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "libraries": {}, "data_sha256": "", "options": {},
    }  # fmt: skip
    npz_sha256 = hashlib.sha256((folder / "model.npz").read_bytes()).hexdigest()
    document = {
        "format": "rightsize-specialist-1",
        "labels": ["card", "refund"],
        "words": ["card", "money"],
        "chars": [],
    }
    (folder / "model.json").write_text(json.dumps({**document, "npz_sha256": npz_sha256, "record": record}))
    (folder.parent / "current.json").write_text(json.dumps({"version": folder.name}))
    found, told = specialists.load(folder)
    (answer,) = found.predict(["my card"])
    assert answer.label == "card"
    assert answer.confidence == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-5)
    assert (answer.score, answer.in_scope) == (pytest.approx(answer.confidence, rel=1e-5), 1.0)
    assert told.model_sha256 == ""
    assert specialists.kept(folder).certify == ()
    assert evaluate(folder, ["money"], ["refund"]).accuracy == 1


def damage(folder: Path, how: str) -> None:
    npz, document = folder / "model.npz", folder / "model.json"
    if how == "flipped":
        data = bytearray(npz.read_bytes())
        data[len(data) // 2] ^= 1
        npz.write_bytes(data)
    elif how == "cut":
        document.write_bytes(document.read_bytes()[:100])
    elif how == "pickled":
        with zipfile.ZipFile(npz, "w") as made:
            for name in ("word_idf", "char_idf", "scope", "field_0_terms_coef"):
                with made.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.array([print], dtype=object), allow_pickle=True)
    rows_of = json.loads(document.read_bytes()) if how != "cut" else {}
    if how == "pickled":
        rows_of["npz_sha256"] = hashlib.sha256(npz.read_bytes()).hexdigest()
    elif how == "fewer":
        rows_of["words"] = rows_of["words"][1:]
    elif how == "format":
        rows_of["format"] = "somebody's"
    elif how == "labels":
        labels = rows_of["fields"][0]["labels"]
        rows_of["fields"][0]["labels"] = labels[1:] + labels[:1]
    elif how == "unsealed":
        del rows_of["sha256"]
    if how in ("pickled", "fewer"):  # by somebody who knows how it is held against its hash
        stored.describe(folder, {key: value for key, value in rows_of.items() if key != "sha256"})
    elif how != "cut":
        document.write_text(json.dumps(rows_of))


@pytest.mark.parametrize("how", ["flipped", "cut", "pickled", "fewer", "format", "labels", "unsealed"])
def test_a_folder_that_is_damaged_is_never_used(tmp_path: Path, how: str) -> None:
    record = train(*rows(30), "tickets", tmp_path)
    folder = tmp_path / "specialists" / "tickets" / record.version
    damage(folder, how)
    with pytest.raises(InvalidConfig, match="rightsize train tickets"):
        specialists.load(folder)
    if how not in ("pickled", "fewer"):
        with pytest.raises(InvalidConfig, match="rightsize train tickets"):
            specialists.check(folder)


def test_a_folder_that_is_missing_says_how_to_get_one(tmp_path: Path) -> None:
    assert specialists.current_folder(tmp_path, "tickets") is None
    with pytest.raises(NotFound, match="rightsize train tickets"):
        specialists.load(tmp_path / "specialists" / "tickets" / "v1")


@pytest.mark.parametrize("content", ["", "[]", '{"version": "../x"}', '{"version": 3}', "{}"])
def test_a_pointer_that_is_damaged_leads_nowhere(tmp_path: Path, content: str) -> None:
    home = tmp_path / "specialists" / "tickets"
    home.mkdir(parents=True)
    (home / "current.json").write_text(content)
    with pytest.raises(InvalidConfig, match=r"current\.json"):
        specialists.current_folder(tmp_path, "tickets")


def test_rows_kept_aside_are_refused_once_they_were_changed(tmp_path: Path) -> None:
    record = train(*rows(), "tickets", tmp_path)
    folder = tmp_path / "specialists" / "tickets" / record.version
    kept = json.loads((folder / "kept.json").read_bytes())
    kept["certify"][0][1] = 1.0
    (folder / "kept.json").write_text(json.dumps(kept))
    with pytest.raises(InvalidConfig, match=r"kept\.json is not the file"):
        specialists.kept(folder)
    assert specialists.load(folder)[1] == record
