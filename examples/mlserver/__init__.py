"""A model repository for MLServer."""
