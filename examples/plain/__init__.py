"""A model server with nothing but Python."""
