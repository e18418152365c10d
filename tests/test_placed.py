"""Where the weights of a fleet lie: a relative path means the folder of its rightsize.toml, from wherever it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import fleet

FILE = """
[models.small]
tier = "slm"
engine = "llamacpp"
path = "{small}"
free = true
rates = [{{ input = "0" }}]
[models.large]
tier = "llm"
engine = "vllm"
path = "{large}"
adapters = {{ here = "adapters/mine", hub = "org/adapter" }}
rates = [{{ input = "1" }}]
"""


@pytest.mark.parametrize(
    "small, large, found",
    [
        ("weights/a.gguf", "org/model", ("{home}/weights/a.gguf", "org/model")),
        ("./gone.gguf", "../org/model", ("{home}/gone.gguf", "{above}/org/model")),
        ("/srv/a.gguf", "weights", ("/srv/a.gguf", "{home}/weights")),
    ],
)
def test_a_relative_path_begins_at_the_folder_of_the_file(
    small: str, large: str, found: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for folder in ("weights", "adapters/mine", "elsewhere"):
        (home / folder).mkdir(parents=True)
    (home / "weights" / "a.gguf").touch()
    (home / "own.toml").write_text(FILE.format(small=small, large=large))
    monkeypatch.chdir(home / "elsewhere")
    config = fleet.load(Path("../own.toml"))
    placed = [config.placed(model) for model in config.fleet.models]
    assert [model.path for model in placed] == [path.format(home=home, above=tmp_path) for path in found]
    assert placed[1].adapters == {"here": f"{home}/adapters/mine", "hub": "org/adapter"}
    assert config.versions == fleet.load(home / "own.toml").versions, "the fleet is the same wherever it lies"
