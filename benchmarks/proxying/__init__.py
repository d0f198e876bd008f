"""The parts of ``benchmarks.proxy``, one module per question."""
