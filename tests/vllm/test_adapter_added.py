"""An adapter's whole way: made, registered by `rightsize models add`, served by vLLM on its base model, and asked for by requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.weights import tiny
from orchestrator import fleet
from tests.conftest import Servers
from tests.stack import chat, row
from tests.vllm.conftest import stack_of, start_worker
from tests.vllm.fleet import fleet_toml

WITHIN_S = 120
ASKED = "Where is my card, and when does the money come back? "


def models_add(folder: Path, config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command as a person gives it."""
    words = ["models", "add", str(folder), "--base", "tiny", "--config", str(config), *more]
    return subprocess.run(
        [Path(sys.executable).with_name("rightsize"), *words],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def test_an_adapter_that_was_added_is_served_on_its_base_model_and_answers_differently(
    servers: Servers, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = tmp_path / "rightsize.toml"
    config.write_text(fleet_toml(weights).replace("max_model_len = 8192", 'max_model_len = 2048\ndtype = "float32"'))
    before = config.read_text()
    trained = tiny.adapter(tmp_path / "trained", seed=3)
    done = models_add(trained, config, "--name", "support")
    assert done.returncode == 0, done.stderr
    assert "rank 4, 8 layers" in done.stdout
    assert "its layers fit those of tiny" in " ".join(done.stderr.split())
    line = f'[models.tiny.adapters]\nsupport = "{trained}"\n'
    assert config.read_text().replace(line, "") == before
    assert fleet.load(config).fleet.adapters == {"support": ("tiny",)}

    with stack_of(servers, tmp_path_factory.mktemp("added"), config.read_text()) as stack:
        stack.orchestrator()
        start_worker(stack)
        body = {"temperature": 0, "max_tokens": 16, "reasoning_effort": "none"}
        named = {"plain": {}, "support": {"rightsize": {"adapter": "support"}}}
        rows = [
            row(f"{who}-{turn}", chat(ASKED * 4, **body, **hints)) for turn in range(2) for who, hints in named.items()
        ]
        batch = stack.submit(rows)
        assert stack.wait(batch, 60).status == "completed"
        stack.must_hold(batch, len(rows))
        said: dict[str, set[str]] = {}
        for answer in stack.lines(batch):
            content = answer["response"]["body"]["choices"][0]["message"]["content"]
            said.setdefault(answer["custom_id"].partition("-")[0], set()).add(content)
        assert {who: len(texts) for who, texts in said.items()} == {"plain": 1, "support": 1}
        assert said["plain"] != said["support"]
        revisions = {one.model_revision for one in stack.query("SELECT DISTINCT model_revision FROM attempts")}
        assert len(revisions) == 2
        assert sum(one.endswith("+support") for one in revisions) == 1


def test_an_adapter_that_vllm_could_not_serve_is_refused_before_it_is_written(weights: Path, tmp_path: Path) -> None:
    config = tmp_path / "rightsize.toml"
    config.write_text(fleet_toml(weights))
    before = config.read_text()
    cut = tiny.adapter(tmp_path / "cut")
    whole = (cut / "adapter_model.safetensors").read_bytes()
    (cut / "adapter_model.safetensors").write_bytes(whole[:-100])
    assert "is not whole" in models_add(cut, config).stderr
    strange = tiny.adapter(tmp_path / "strange")
    told = json.loads((strange / "adapter_config.json").read_text())
    (strange / "adapter_config.json").write_text(json.dumps({**told, "use_dora": True}))
    refused = models_add(strange, config)
    assert refused.returncode == 1
    assert "DoRA" in refused.stderr
    assert config.read_text() == before
