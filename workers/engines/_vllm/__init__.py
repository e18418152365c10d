"""The parts of `workers.engines.vllm`, which only it puts together."""
