"""The parts of ``benchmarks.fidelity``: what is asked, of whom, and what becomes of it."""
