"""Settings for a trace: many tried roughly, the best replayed exactly, one recommended."""
