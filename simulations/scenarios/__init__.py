"""Whole comparisons that need no trace: ``python -m simulations.scenarios NAME``."""
