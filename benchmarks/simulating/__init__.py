"""What benchmarks/simulate.py measures, a part each."""
