"""Traces of requests: read from what others publish or measure, made up, summed up, written."""

from simulations.traces.reading import FORMATS, Loaded, read_source
from simulations.traces.writing import write_csv

__all__ = ["FORMATS", "Loaded", "read_source", "write_csv"]
