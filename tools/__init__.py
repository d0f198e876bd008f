"""What maintainers run; no part of Stoker itself."""
