"""The parts of ``benchmarks.kubernetes``: a cluster in this process, and what is done to it."""
