"""Load in, replica and node counts out."""
