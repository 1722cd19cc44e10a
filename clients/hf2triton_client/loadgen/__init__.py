"""Load on any function, and what came of it."""
