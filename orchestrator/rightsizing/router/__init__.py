"""The learned router's training, thresholds and figures. What it learned is loaded and asked by `orchestrator.learned.router`."""
