"""The service as its callers meet it, beside LiteLLM's proxy: `python -m benchmarks.service [NAME ...]`. Run by `make bench-service`."""
