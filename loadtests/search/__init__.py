"""Which load is safe, and what happens beyond it."""
