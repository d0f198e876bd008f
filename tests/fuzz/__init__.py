"""The activator among hostile clients and replicas, without a socket: see ``stage``."""
