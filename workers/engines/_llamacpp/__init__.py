"""The parts of `workers.engines.llamacpp`, which only it puts together."""
