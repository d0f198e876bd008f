"""Examples: model servers to put Stoker in front of."""
