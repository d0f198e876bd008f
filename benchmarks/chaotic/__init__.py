"""The parts of ``benchmarks.chaos``: what serves, what asks, what breaks."""
