"""The demo with real models: the trained specialist and SmolLM2 on llama.cpp for `slm`, SmolLM2 on vLLM for `llm`.

`python -m benchmarks.demo_real`, in the environment that has vLLM (`make demo-real`). A reasoning and a seeing model are more
than a CPU can serve in a demo: `rlm` and `mllm` are simulated, and said to be. The weights are fetched once (93 MB); the fleet
and the data lie under build/demo-real. SmolLM2 has 135 million parameters: it shows the path and its speed, never accuracy.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.weights import smollm2
from orchestrator.cli.again import remember_place
from orchestrator.cli.demo import demo_rows, run
from orchestrator.cli.display import note
from orchestrator.cli.ending import in_order

FOLDER: Final = Path(__file__).parents[1] / "build" / "demo-real"
SAMPLE: Final = Path(__file__).parents[1] / "orchestrator" / "sample.toml"
SIMULATED: Final = ("sim-rlm", "sim-mllm")
ROWS: Final[Mapping[str, int]] = {"ticket": 60, "research": 12, "strategy": 6, "page": 4}
"""How many of each kind the demo has here: what a real model writes on two cores takes its time."""
NOTES: Final = (
    "The parcel has not moved since Tuesday, and the customer wants to know why.",
    "The invoice was paid twice; one of the payments goes back this week.",
    "The meeting is moved to Thursday at ten, in the small room.",
    "The new printer works, but only from the second floor.",
    "The warehouse closes early on Friday because of the holiday.",
    "The contract ends in March unless we write by the end of January.",
)
"""Short texts to answer at once: the bound on their time sends them to the small model."""
AT_MOST_S: Final = 3.0
FLEET: Final = """# The fleet of `make demo-real`, written anew at each run. Prices are examples, not anybody's offer.

[policy]
default_tier = "llm"

[models.specialist]              # real: trained on the demo's tickets
tier = "slm"
engine = "specialist"
slots = 64
expected_latency_s = 0.005
[[models.specialist.rates]]
from = 2026-01-01
request = "0.00002"

[models.smollm2-llamacpp]        # real: 135 million parameters, 4 bits, on this CPU
tier = "slm"
engine = "llamacpp"
default = true
path = "{gguf}"
slots = 4
expected_latency_s = 2.0
max_output_tokens = 32
timeout_s = 900.0
[models.smollm2-llamacpp.llamacpp]
workers_on_host = 2              # vLLM is the other one
context_per_slot = 1024
[[models.smollm2-llamacpp.rates]]
from = 2026-01-01
input = "1.00"
output = "2.00"

[models.smollm2-vllm]            # real: the same weights in vLLM, where a large general model would be
tier = "llm"
engine = "vllm"
default = true
path = "{folder}"
slots = 8
expected_latency_s = 8.0
max_input_tokens = 1536
max_output_tokens = 48
timeout_s = 900.0
first_byte_timeout_s = 900.0
[models.smollm2-vllm.vllm]
max_model_len = 2048
[[models.smollm2-vllm.rates]]
from = 2026-01-01
input = "10.00"
output = "40.00"
"""
REMARKS: Final = (
    "SmolLM2 has 135 million parameters and does not classify usefully: its share of right labels is no claim about an llm.",
    "Prices are examples, in build/demo-real/rightsize.toml, and so is what was saved; times of real models are this CPU's.",
)


def main() -> None:
    """Set up, and run the demo. Ends with code 1 where the weights cannot be had, and says why."""
    began = time.monotonic()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are here, and nothing else is to be asked for
    for key in [key for key in os.environ if key.startswith("RIGHTSIZE_")]:
        del os.environ[key]  # the demo runs on its own servers and settings
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    note("Making the weights of SmolLM2-135M ready, once: a GGUF for llama.cpp, and a folder for vLLM")
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = FOLDER / "rightsize.toml"
    config.write_text(fleet_toml(smollm2.gguf(), smollm2.folder()), encoding="utf-8")
    data = FOLDER / "data"
    remember_place(".venv-vllm/bin/rightsize", data_dir=data, config=config)
    note(f"Ready after {time.monotonic() - began:.0f} s. vLLM takes one to two minutes to load, and says so.")
    run(data, config, rows(), REMARKS)
    note(f"All of it took {time.monotonic() - began:.0f} s.")


def fleet_toml(gguf: Path, folder: Path) -> str:
    """The real models, and those of the sample that stay simulated."""
    made = FLEET.format(gguf=gguf, folder=folder)
    return made + "".join(f"\n[models.{name}]\n{_section(name)}" for name in SIMULATED)


def _section(name: str) -> str:
    """A model of the sample fleet, as it stands there."""
    text = SAMPLE.read_text("utf-8")
    section = text.partition(f"\n[models.{name}]\n")[2]
    mine = [line for line in section.splitlines() if line]
    end = next(
        (at for at, line in enumerate(mine) if line.startswith("[models.") and f".{name}." not in line), len(mine)
    )
    return "\n".join(mine[:end]) + "\n"


def rows() -> list[dict[str, Any]]:
    """Some of each kind of the demo's rows, and notes that are wanted at once; none of them names a tier."""
    found = demo_rows()
    chosen = [
        row
        for kind, count in ROWS.items()
        for row in islice((row for row in found if row["custom_id"].startswith(kind)), count)
    ]
    return [*chosen, *_notes()]


def _notes() -> Iterator[dict[str, Any]]:
    for number, text in enumerate(NOTES, 1):
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": f"Say this politely in one sentence: {text}"}],
            "rightsize": {"max_latency_s": AT_MOST_S},
        }
        yield {"custom_id": f"note-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


if __name__ == "__main__":
    in_order(main)
