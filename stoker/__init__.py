"""Scale-to-zero in front of any inference server, without the cold start."""

__version__ = "0.1.0"
