"""Make torchvision's build for CUDA usable beside the torch for CPUs: `python -m benchmarks.mend_torchvision`.

PyPI has no build of torchvision for CPUs. Its operators (boxes and regions, which no vision model in vLLM needs) cannot be loaded
here; everything else of it is Python, but the file that describes those operators to torch fails, and with it the whole
import. Where that is so, and only there, that one file is emptied. A build that can be imported as it is stays untouched.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

FILE = "_meta_registrations.py"
SYMPTOM = "operator torchvision::"
INSTEAD = '"""Emptied by benchmarks/mend_torchvision.py: the operators that stood here are in no library of this machine."""\n'


def complaint() -> str:
    """What importing torchvision says that is wrong; empty if nothing is."""
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def main() -> None:
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        sys.exit("torchvision is not installed: make .venv-vllm/.installed")
    if SYMPTOM in complaint():
        Path(found.submodule_search_locations[0], FILE).write_text(INSTEAD)
    if wrong := complaint():
        sys.exit(f"torchvision cannot be imported, and it is not the fault that is known here:\n{wrong}")


if __name__ == "__main__":
    main()
