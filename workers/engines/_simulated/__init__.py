"""The parts of `workers.engines.simulated`, which only it puts together."""
