"""The real vLLM on a CPU, beside its own batch runner. Run by `make bench-vllm` in the environment that has it.

What is measured here is what our part adds to an engine, and how it is steered. No claim about GPUs follows from it.
"""
