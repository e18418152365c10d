"""A router learns which model does what well, is stored safely, answers as it was fitted, and says so."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from orchestrator.errors import InvalidConfig, InvalidRequest, NotFound
from orchestrator.learned import router_folder, stored
from orchestrator.learned.projection import Floats, Projection
from orchestrator.learned.router import MOST_PROMPT_CHARS, Router, Rule, choose
from orchestrator.rightsizing.router import commands, figures
from orchestrator.rightsizing.router.fit import Fitted, fit, folds
from orchestrator.rightsizing.router.heads import Table, ask_heads, fit_heads
from orchestrator.rightsizing.router.outcomes import Outcomes, text_hashes
from orchestrator.settings import Settings
from tests.rightsizing.made_outcomes import CHANCES, COSTS, made, write

NASTY = [
    "a",
    "İstanbul ß ǅ",
    "日本語 テキスト",
    "it's 3.5% O'Neil_x\n\nA. 1\nB. 2",
    "\u200b\ufeff",
    "é e\u0301",
    "\ud800 half",
    "x" * 50_000,
]


class Lengths:
    """An encoder that knows nothing but how long a text is."""

    sha256 = "0" * 64
    width = 4

    def encode(self, texts: Sequence[str]) -> Floats:
        angles = np.array([len(text) / 100 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> Outcomes:
    return made(1_200)


@pytest.fixture(scope="module")
def fitted(rows: Outcomes) -> Fitted:
    return fit(rows, text_hashes(rows.prompts), None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a router of three models."""
    folder = tmp_path_factory.mktemp("data")
    given = write(folder / "outcomes.csv", made(900, tuple(CHANCES)))
    record = commands.train(Settings.load({"data_dir": folder}), given, _quiet, costs=COSTS, encoder="none")
    assert record["held_out"] == 180
    return folder


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    """A copy of that directory, to do with as a test likes."""
    shutil.copytree(home, tmp_path / "data")
    return Settings.load({"data_dir": tmp_path / "data"})


def _quiet(_step: str, _share: float) -> None: ...


def test_a_router_tells_prompts_apart_by_which_model_does_them_well(fitted: Fitted) -> None:
    fresh = made(1_000, seed=9)
    said = fitted.router.predict(fresh.prompts)
    moves = figures.steps(said.astype(np.float64), fresh.values.astype(np.float64), np.array([0.0, 1.0]))
    assert figures.apgr(moves)[0] > 0.75
    chosen = choose(said, [0.001, 0.05], Rule(4.0))
    hard = np.array(
        [any(word in prompt for word in ("prove", "theorem", "lemma", "integral", "bound")) for prompt in fresh.prompts]
    )
    assert chosen[hard].mean() > 0.9
    assert chosen[~hard].mean() < 0.3


def test_what_is_said_of_unseen_rows_is_calibrated(fitted: Fitted, rows: Outcomes) -> None:
    fresh = made(3_000, seed=5)
    assert max(figures.off_by(fitted.router.predict(fresh.prompts), fresh.values)) < 0.06
    assert max(figures.off_by(fitted.cross, rows.values)) < 0.06


def test_three_models_with_partial_outcomes_are_learned() -> None:
    rows = made(900, tuple(CHANCES), partial=True)
    found = fit(rows, text_hashes(rows.prompts), None)
    said = found.router.predict(["poem verse the is was not 7?", "prove lemma the is was not 7?"])
    assert said[0].argmax() == 2
    assert said[1].argmax() == 1


def test_a_text_is_answered_the_same_alone_and_among_others(fitted: Fitted, rows: Outcomes) -> None:
    texts = [*rows.prompts[:40], *NASTY]
    alone = np.concatenate([fitted.router.predict([text]) for text in texts])
    np.testing.assert_allclose(fitted.router.predict(texts), alone, atol=1e-6)
    assert fitted.router.predict([]).shape == (0, 2)


def test_the_same_rows_make_the_same_router_to_the_digit_whatever_the_threads(rows: Outcomes) -> None:
    some = rows.take(np.arange(300))
    seen = []

    def fitted_on(threads: int) -> Fitted:
        with threadpool_limits(threads):
            return fit(some, text_hashes(some.prompts), None, seed=3, tell=lambda *_: seen.append(threadpool_info()))

    one, other = fitted_on(1), fitted_on(2)
    assert {pool["num_threads"] for look in seen for pool in look} == {1}
    np.testing.assert_array_equal(one.cross, other.cross)
    for name, array in one.router.arrays.items():
        np.testing.assert_array_equal(array, other.router.arrays[name])


def test_a_router_says_of_a_text_what_its_heads_said_in_training(rows: Outcomes, fitted: Fitted) -> None:
    table = Table.of(rows.prompts, None)
    known = np.arange(len(rows.prompts))
    said = ask_heads(fit_heads(table, rows.values, known, 0), table, known, 2)
    asked = fitted.router.heads(rows.prompts, None)
    assert set(asked) == set(said)
    for name, found in said.items():
        # A topic's last bit may put a row on the other side of a tree's split.
        assert np.quantile(np.abs(asked[name] - found), 0.9) < 1e-3


def test_rows_of_one_prompt_never_stand_on_both_sides_of_a_fold() -> None:
    hashes = text_hashes([f"prompt {at % 50}" for at in range(400)])
    part = folds(hashes, 5, 0)
    assert all(len(set(part[hashes == one].tolist())) == 1 for one in set(hashes.tolist()))
    assert [int((part == number).sum()) for number in range(5)] == [80] * 5


def test_twins_whose_outcomes_are_noise_do_not_teach_the_router_to_remember() -> None:
    source = np.random.default_rng(0)
    prompts = [f"{'my card' if at % 2 else 'the refund'} please w{at % 200}" for at in range(400)]
    rows = Outcomes(prompts, ("a", "b"), np.tile(source.integers(0, 2, (200, 2)), (2, 1)).astype(np.float32))
    cross = fit(rows, text_hashes(prompts), None).cross
    assert (
        np.std(cross[:, 1] - cross[:, 0]) < 0.1
    )  # one that remembered would be as sure as the outcomes, whose spread is 0.7


def test_too_few_rows_or_kinds_are_refused_with_what_is_missing(rows: Outcomes) -> None:
    for few, words in ((3, "there are 3 to learn from"), (99, "Add 1 or more")):
        some = rows.take(np.arange(few))
        with pytest.raises(InvalidRequest, match=words):
            fit(some, text_hashes(some.prompts), None)
    always = Outcomes(rows.prompts, ("never", "large"), rows.values * np.float32([0, 1]))
    with pytest.raises(InvalidRequest, match=r"never has fewer than 10 good outcomes.*--ignore 'never'"):
        fit(always, text_hashes(always.prompts), None)
    unknown = Outcomes(rows.prompts, rows.models, np.where(rows.values > 1, 0, np.nan).astype(np.float32))
    with pytest.raises(InvalidRequest, match="outcome of every model"):
        fit(unknown, text_hashes(unknown.prompts), None)


@pytest.mark.parametrize("prompt", ["", " \n", "x" * (MOST_PROMPT_CHARS + 1)])
def test_a_prompt_that_cannot_be_judged_is_refused(fitted: Fitted, prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="Route others by a tier"):
        fitted.router.predict(["fine", prompt])


def test_a_stored_router_answers_as_it_was_fitted(settings: Settings) -> None:
    stored = commands.opened(settings)
    again = router_folder.load(stored.folder, None)
    np.testing.assert_array_equal(stored.router.predict(NASTY), again.router.predict(NASTY))
    np.testing.assert_allclose(stored.router.predict(made(900, tuple(CHANCES)).prompts[:5]).shape, (5, 3))
    assert set(stored.fitted.hashes.tolist()).isdisjoint(stored.held.hashes.tolist())


def test_a_router_with_an_encoder_is_refused_another(rows: Outcomes, tmp_path: Path) -> None:
    found = fit(rows.take(np.arange(300)), text_hashes(rows.prompts[:300]), Lengths())
    assert "vector" in found.router.arrays
    none = router_folder.Known(np.zeros(0, np.uint64), np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
    folder = router_folder.save(tmp_path, found.router, {"version": "v1"}, none, none, Lengths.sha256)
    assert router_folder.needs_encoder(folder)
    kept = router_folder.load(folder, Lengths())
    np.testing.assert_array_equal(kept.router.predict(NASTY), found.router.predict(NASTY))
    with pytest.raises(InvalidConfig, match="another sentence encoder"):
        router_folder.load(folder, None)


def test_an_encoder_is_used_where_it_is_wanted_and_there_and_which_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, told = Settings.load({"data_dir": tmp_path}), list[str]()
    given = write(tmp_path / "o.csv", made(200))

    def missing(_home: Path) -> Lengths:
        raise NotFound("The sentence encoder is not here. Get it with: COMMAND")

    for opens, sha256, words in (
        (missing, None, "Get it with"),
        (lambda _home: Lengths(), Lengths.sha256, "with sentence vectors"),
    ):
        monkeypatch.setattr(commands, "open_encoder", opens)
        record = commands.train(settings, given, lambda step, _share: told.append(step), encoder="auto")
        assert (record["encoder"] or {}).get("sha256") == sha256
        assert any(words in step for step in told)
        told.clear()
        assert commands.opened(settings).router.predict(["card post"]).shape == (1, 2)


@pytest.mark.parametrize("name", ["model.npz", "rows.npz"])
def test_a_file_that_was_changed_is_refused_by_its_hash(settings: Settings, name: str) -> None:
    path = commands.opened(settings).folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidConfig, match=f"{name} is not the file.*router train"):
        commands.opened(settings)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"models": ["small"]},
        {"models": ["a", "a", "b"]},
        {"terms": []},
        {"terms": ["x"]},
    ],
)
def test_a_description_that_does_not_fit_the_numbers_is_refused(settings: Settings, change: dict[str, object]) -> None:
    path = commands.opened(settings).folder / "model.json"
    document = {**json.loads(path.read_text()), **change}
    del document["sha256"]
    stored.describe(path.parent, document)
    with pytest.raises(InvalidConfig, match="damaged"):
        commands.opened(settings)


def test_models_that_changed_places_are_refused(settings: Settings) -> None:
    path = commands.opened(settings).folder / "model.json"
    assert router_folder.check(path.parent) == ("small", "large", "poet")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "models": document["models"][::-1]}))
    for read in (commands.opened, lambda _: router_folder.check(path.parent)):
        with pytest.raises(InvalidConfig, match="changed since it was written"):
            read(settings)


def test_models_that_the_fleet_does_not_have_are_named(settings: Settings) -> None:
    assert commands.show(settings)["not_in_fleet"] == ["small", "large", "poet"]
    assert commands.calibrate(settings, quality=0.5)["not_in_fleet"] == ["small", "large", "poet"]


def test_numbers_that_do_not_fit_a_router_are_refused() -> None:
    words = Projection(["a"], np.ones(1, np.float32), np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        Projection(["a", "b"], np.ones(1, np.float32), np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="wrong kind"):
        Projection(["a"], np.full(1, np.nan, np.float32), np.ones((1, 2), np.float32))
    assert words.of(["a b", "c"]).tolist() == [[1, 1], [0, 0]]


def test_what_the_router_does_not_know_is_said_and_never_guessed(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"other.*small, large, poet"):
        commands.calibrate(settings, quality=0.5, costs={"other": 1.0})
    with pytest.raises(NotFound, match=r"not learned other.*--ignore 'other'"):
        commands.evaluate(
            settings,
            outcomes_file=write(
                tmp_path / "a.csv", Outcomes(["x y"], ("small", "large", "poet", "other"), np.ones((1, 4), np.float32))
            ),
        )
    with pytest.raises(InvalidRequest, match="no column poet"):
        commands.evaluate(settings, outcomes_file=write(tmp_path / "b.csv", made(5)))
    with pytest.raises(NotFound, match="router train"):
        commands.opened(Settings.load({"data_dir": tmp_path / "empty"}))
    router = commands.opened(settings).router
    assert router.place("poet") == 2
    with pytest.raises(NotFound, match="router train"):
        router.place("nobody")


def test_costs_are_asked_for_where_nobody_gave_them(tmp_path: Path) -> None:
    settings = Settings.load({"data_dir": tmp_path})
    given = write(tmp_path / "outcomes.csv", made(200, tuple(CHANCES)))
    with pytest.raises(InvalidRequest, match=r"poet.*--cost MODEL=USD"):
        commands.train(settings, given, _quiet, costs={"small": 0.1, "large": 0.2}, encoder="none")
    with pytest.raises(InvalidRequest, match="0 to 1,000,000"):
        commands.train(settings, given, _quiet, costs={**COSTS, "poet": -1.0}, encoder="none")


def test_two_models_without_costs_are_measured_in_shares_of_calls(tmp_path: Path) -> None:
    settings = Settings.load({"data_dir": tmp_path})
    rows = made(400)
    record = commands.train(settings, write(tmp_path / "o.csv", rows), _quiet, encoder="none")
    assert record["costs_usd"] is None
    found = commands.calibrate(settings, budget_usd=0.5)
    assert found["shares"]["large"] == pytest.approx(found["cost_usd"])
    assert found["cost_bound_usd"] <= 0.5


def test_rows_that_were_fitted_are_never_measured_or_set_on(settings: Settings, tmp_path: Path) -> None:
    both = made(900, tuple(CHANCES))
    stored = commands.opened(settings)
    found = commands.evaluate(settings, outcomes_file=write(tmp_path / "all.csv", both))
    assert (found["n"], found["rows"]["seen"]) == (180, 720)
    assert found["apgr"] == pytest.approx(commands.evaluate(settings)["apgr"], abs=0.05)
    only_fitted = both.take(np.flatnonzero(np.isin(text_hashes(both.prompts), stored.fitted.hashes)))
    with pytest.raises(InvalidRequest, match="720 were fitted"):
        commands.evaluate(settings, outcomes_file=write(tmp_path / "fitted.csv", only_fitted))


def test_a_rule_is_set_kept_and_shown_until_the_router_is_trained_again(settings: Settings) -> None:
    assert commands.show(settings)["rule"] is None
    made_rule = commands.calibrate(settings, quality=0.6, delta=0.1)
    assert made_rule["issued"]
    assert made_rule["quality_bound"] >= 0.6
    refused = commands.calibrate(settings, quality=0.999)
    assert not refused["issued"]
    shown = commands.show(settings)["rule"]
    assert (shown["threshold"], shown["asked"]["quality"]) == (made_rule["threshold"], 0.6)
    commands.train(settings, settings.data_dir / "outcomes.csv", _quiet, costs=COSTS, encoder="none")
    assert commands.show(settings)["rule"] is None


def test_other_rows_spend_another_part_of_delta_and_the_same_rows_the_same(settings: Settings, tmp_path: Path) -> None:
    fresh = write(tmp_path / "fresh.csv", made(300, tuple(CHANCES), seed=7))
    spent = [
        commands.calibrate(settings, quality=0.5, outcomes_file=file)["delta_spent"]
        for file in (None, fresh, None, fresh)
    ]
    assert spent[0] == spent[2] == pytest.approx(0.05 * 6 / np.pi**2)
    assert spent[1] == spent[3] == pytest.approx(0.05 * 6 / np.pi**2 / 4)


def test_a_prompt_that_stands_twice_counts_once_in_a_statement(settings: Settings, tmp_path: Path) -> None:
    fresh = made(150, tuple(CHANCES), seed=7)
    twice = Outcomes(fresh.prompts * 2, fresh.models, np.tile(fresh.values, (2, 1)))
    assert commands.calibrate(settings, quality=0.5, outcomes_file=write(tmp_path / "twice.csv", twice))["n"] == 150


def test_rows_with_a_model_that_was_not_asked_are_left_out_and_counted(tmp_path: Path) -> None:
    settings, rows = Settings.load({"data_dir": tmp_path}), made(400)
    rows.values[::4, 1] = np.nan
    record = commands.train(settings, write(tmp_path / "o.csv", rows), _quiet, encoder="none")
    assert (record["n"], record["incomplete"], record["fitted"] + record["held_out"]) == (400, 100, 300)


@pytest.mark.parametrize("bound,most", [("MOST_FITTED", 150), ("MOST_FITTED_CHARS", 6_000)])
def test_of_more_rows_than_are_fitted_a_sample_is_drawn_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(commands, bound, most)
    settings = Settings.load({"data_dir": tmp_path})
    record = commands.train(settings, write(tmp_path / "o.csv", made(400)), _quiet, encoder="none")
    assert (record["n"], record["held_out"]) == (400, 80)
    assert 100 <= record["fitted"] <= 160


def test_a_prediction_in_a_batch_takes_less_than_three_milliseconds(fitted: Fitted) -> None:
    texts = [f"{prompt} {' '.join(made(30, seed=2).prompts)}" for prompt in made(100, seed=1).prompts]
    fitted.router.predict(texts)
    began = time.process_time()
    fitted.router.predict(texts)
    assert (time.process_time() - began) / len(texts) < 0.02


def test_a_record_says_where_the_router_comes_from(settings: Settings) -> None:
    record = commands.show(settings)
    assert record["models"] == list(CHANCES)
    assert record["costs_usd"] == COSTS
    assert record["encoder"] is None
    assert len(record["data_sha256"]) == 64
    assert set(record["libraries"]) == {"python", "numpy", "scipy", "scikit-learn"}
    assert record["figures"]["apgr"]["low"] < record["figures"]["apgr"]["value"] < record["figures"]["apgr"]["high"]
    assert isinstance(json.loads(json.dumps(record)), dict)


def test_a_router_is_checked_before_it_is_asked() -> None:
    fine = fit(made(200), text_hashes(made(200).prompts), None).router
    for change in (
        {"mean": np.zeros(2, np.float32)},
        {"offset": np.full(2, np.nan, np.float32)},
        {"vector": np.zeros((4, 2), np.float32)},
    ):
        with pytest.raises(ValueError, match=r"do not fit|wrong kind|does not fit"):
            Router(fine.models, fine.signs, fine.trees, {**fine.arrays, **change})
