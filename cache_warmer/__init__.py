"""Bytes in place before they are needed."""
