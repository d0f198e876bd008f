"""The worlds Stoker runs in. Nothing outside this package touches a world's own API."""
