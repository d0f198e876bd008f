"""A WebSocket server."""
