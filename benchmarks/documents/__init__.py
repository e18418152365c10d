"""Documents: what reading gives, costs and survives, beside peers: `python -m benchmarks.documents [NAME ...]`. Run by `make bench-documents`."""
