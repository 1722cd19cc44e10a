"""Generates load on any function, and measures the results."""
