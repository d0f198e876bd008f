"""The same brain under a virtual clock."""
