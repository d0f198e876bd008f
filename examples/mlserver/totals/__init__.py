"""The model: its settings, and the runtime that they name."""
