"""The parts of `workers.engines.openai`, which only it puts together."""
