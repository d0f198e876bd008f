"""llama.cpp with a tiny model that is made on the spot."""
