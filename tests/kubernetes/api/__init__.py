"""A strict Kubernetes API server in this process, for tests."""
