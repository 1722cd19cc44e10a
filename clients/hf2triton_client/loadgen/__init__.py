"""Load on any function, and its results."""
