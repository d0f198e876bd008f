"""Holds a request, picks a replica, forwards bytes."""
