"""Benchmarks: what Stoker costs, each against what one would use instead."""
