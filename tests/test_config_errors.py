"""A rightsize.toml that is wrong stops the start with one line that names the file, the key and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator import fleet
from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings

MODEL = """
[models.house]
tier = "llm"
engine = "simulated"
"""
RATE = """
[[models.house.rates]]
from = 2026-01-01
request = "0.05"
"""
GOOD = MODEL + RATE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rightsize.toml"


def refusal(file: Path, text: str) -> str:
    file.write_text(text, "utf-8")
    with pytest.raises(InvalidConfig) as caught:
        fleet.load(file)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_the_cases_below_start_from_is_right(file: Path) -> None:
    file.write_text(GOOD, "utf-8")
    assert [model.name for model in fleet.load(file).fleet.models] == ["house"]


@pytest.mark.parametrize(
    "text, key, remedy",
    [
        # Keys
        (GOOD + "[polcy]\nmax_attempts = 3\n", "['polcy']", "Known: models, policy, settings."),
        (MODEL + "slotz = 4\n" + RATE, "models.house.slotz", "Known keys: name, tier, engine, "),
        (GOOD + "[policy]\nmax_attemps = 3\n", "policy.max_attemps", "Known keys: default_tier, fallbacks, "),
        ('[models.house]\nengine = "simulated"\n' + RATE, "models.house.tier", "Field required"),
        # Types and bounds
        ("models = 3", "no models", "Add a table such as [models.NAME] with tier, engine and rates."),
        ("", "no models", "Add a table such as [models.NAME] with tier, engine and rates."),
        ("[models]\nhouse = 3\n", "models.house", "must be a table [models.house]"),
        (MODEL + 'slots = "many"\n' + RATE, "models.house.slots", "a valid integer"),
        (MODEL + "slots = 0\n" + RATE, "models.house.slots", "greater than or equal to 1"),
        (MODEL + "timeout_s = nan\n" + RATE, "models.house.timeout_s", "finite number"),
        (MODEL + "timeout_s = inf\n" + RATE, "models.house.timeout_s", "finite number"),
        (MODEL + "timeout_s = 0\n" + RATE, "models.house.timeout_s", "greater than 0"),
        (MODEL + "slots = true\n" + RATE, "models.house.slots", "a valid integer"),
        (MODEL + 'slots = "4"\n' + RATE, "models.house.slots", "a valid integer"),
        (GOOD + "[policy.thresholds]\nfoo = 1\n", "policy.thresholds.foo", "Known keys: complex_signals, long_input"),
        (MODEL + "[models.house.reasoning]\nfoo = 1\n" + RATE, "models.house.reasoning.foo", "Known keys: parser, begin, end, "),
        (GOOD + "[policy]\nmax_attempts = 21\n", "policy.max_attempts", "less than or equal to 20"),
        ("policy = 3\n" + GOOD, "policy", "a valid dictionary"),
        (GOOD.replace("house", "'the house'"), "models.the house.name", "match pattern"),
        # Prices
        (MODEL, "models.house", "add a [[models.house.rates]] entry. An unpriced model is never $0."),
        (MODEL + RATE.replace("0.05", "0"), "models.house", "set a price, or `free = true` if that is meant."),
        (MODEL + "rates = 3\n", "models.house.rates", "must be tables [[models.house.rates]]"),
        # An address
        (GOOD.replace("simulated", "openai"), "models.house", 'needs `address`, such as "http://127.0.0.1:8000/v1"'),
        (MODEL + 'address = "not a url"\n' + RATE, "models.house.address", "must be a plain URL such as"),
        (GOOD.replace("house", "auto"), "models.auto", "Give it another name"),
        (GOOD.replace("house", "llm"), "models.llm", "Give it another name"),
        # Tiers
        (GOOD.replace("llm", "huge"), "models.house.tier", "'slm', 'llm', 'rlm' or 'mllm'"),
        (GOOD + '[policy]\ndefault_tier = "huge"\n', "policy.default_tier", "'slm', 'llm', 'rlm' or 'mllm'"),
        (GOOD + '[policy]\ndefault_tier = "rlm"\n', "policy.default_tier", "Add one, or choose one of: llm."),
        (GOOD + '[policy.fallbacks]\nhuge = ["llm"]\n', "policy.fallbacks.huge", "'slm', 'llm', 'rlm' or 'mllm'"),
        (GOOD.replace("simulated", "magic"), "models.house.engine", "'simulated', 'openai', 'specialist', 'vllm' or 'llamacpp'"),
        # Two
        (
            "".join(GOOD.replace("house", name).replace("tier", "default = true\ntier") for name in ("one", "two")),
            "tier llm has two default models, one and two", "keep `default` on one",
        ),
        (GOOD + GOOD, "('models', 'house') twice", "(at line "),
        ("[models.house\n", "not valid TOML", "(at line 1"),
    ],
)  # fmt: skip
def test_the_message_names_file_key_and_remedy(text: str, key: str, remedy: str, file: Path) -> None:
    message = refusal(file, text)
    assert str(file) in message
    assert key in message
    assert remedy in message


@pytest.mark.parametrize("key", ["usd_per_hour", "hour"])
@pytest.mark.parametrize("beside", ['request = "0.05"', 'input = "0.05"'])
def test_a_machine_is_priced_by_the_hour_beside_a_price_of_the_job(file: Path, key: str, beside: str) -> None:
    file.write_text(f'{MODEL}[[models.house.rates]]\n{key} = "2.50"\n{beside}\n', "utf-8")
    (model,) = fleet.load(file).fleet.models
    assert str(model.rates[0].hour) == "2.50"


def test_a_machine_priced_by_the_hour_alone_is_meant_so(file: Path) -> None:
    file.write_text(f'{MODEL}free = true\n[[models.house.rates]]\nusd_per_hour = "2.50"\n', "utf-8")
    assert not fleet.load(file).fleet.models[0].rates[0].prices_jobs


@pytest.mark.parametrize(
    "weights, remedy",
    [
        ("decode = 0\nprefill = 0\ncached = 0", "weighs nothing: give at least one"),
        ("decode = -1", "greater than or equal to 0"),
        ("decode = inf", "finite number"),
        ("output = 1", "Known keys: prefill, cached, decode"),
    ],
)
def test_weights_that_make_no_sense_are_named(file: Path, weights: str, remedy: str) -> None:
    message = refusal(file, f"{MODEL}[models.house.weights]\n{weights}\n{RATE}")
    assert "models.house.weights" in message
    assert remedy in message


@pytest.mark.parametrize(
    "line, remedy",
    [
        ("reqest = 1", "unknown keys ['reqest']. Known: from, audio_second, cached, hour, image, input, output, "),
        ("request = 0.05", 'must be a string such as "0.15", so that no digit is lost; it is 0.05'),
        ("request = true", 'must be a string such as "0.15"'),
        ('request = "cheap"', "is not a number: 'cheap'"),
        ('request = "-1"', "must lie between 0 and 1,000,000 US dollars"),
        ('request = "Infinity"', "must lie between 0 and 1,000,000 US dollars"),
        ('from = "yesterday"\nrequest = "1"', "from must be a date such as 2026-01-31; it is 'yesterday'"),
        ('hour = "1"\nusd_per_hour = "1"', "has both usd_per_hour and hour, which mean the same: keep usd_per_hour"),
        ("usd_per_hour = 2.5", 'hour must be a string such as "0.15"'),
        (
            'usd_per_hour = "2.50"',
            "(`rightsize models check house --write` measures them), or `free = true` if that is meant",
        ),
        ('hour = "2.50"', "priced by the hour alone, so that a single job would cost $0"),
        ('from = 2026\nrequest = "1"', "from must be a date such as 2026-01-31; it is 2026"),
        ('from = 2026-01-31T10:00:00Z\nrequest = "1"', "from must be a date such as 2026-01-31"),
        ('from = 2999-01-01\nrequest = "1"', "has no price today"),
        ('request = "1000001"', "must lie between 0 and 1,000,000 US dollars"),
    ],
)
def test_a_price_that_is_wrong_is_named_with_its_model(line: str, remedy: str, file: Path) -> None:
    message = refusal(file, MODEL + "[[models.house.rates]]\n" + line)
    assert str(file) in message
    assert "models.house" in message
    assert remedy in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "directory")):
        for read in (fleet.load, lambda config: Settings.load({"config": config})):
            with pytest.raises(InvalidConfig, match="Give --config or RIGHTSIZE_CONFIG a file") as caught:
                read(path)
            assert f"Cannot read {path}" in caught.value.message
            assert why in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_named(file: Path) -> None:
    file.touch(mode=0o000)
    with pytest.raises(InvalidConfig, match=r"Permission denied\. Give --config or RIGHTSIZE_CONFIG a file"):
        fleet.load(file)


def test_a_file_that_is_no_text_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    for read in (fleet.load, lambda config: Settings.load({"config": config})):
        with pytest.raises(InvalidConfig, match=f"{file} is not valid TOML"):
            read(file)


@pytest.mark.parametrize(
    "text, words",
    [
        ("settings = 3", ["`settings` must be a table [settings]"]),
        ("[settings]\nlease = 3\n", ["[settings]", "['lease']"]),
        ("[settings]\nlease_s = 0\n", ["lease_s", "RIGHTSIZE_LEASE_S", "greater than 0"]),
        ('[settings]\nflush_max = "many"\n', ["flush_max", "RIGHTSIZE_FLUSH_MAX", "a valid integer"]),
    ],
)
def test_a_setting_that_is_wrong_is_named(text: str, words: list[str], file: Path) -> None:
    file.write_text(text, "utf-8")
    with pytest.raises(InvalidConfig) as caught:
        Settings.load({"config": file})
    assert all(word in caught.value.message for word in words), caught.value.message
