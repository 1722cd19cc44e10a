"""Text generation, tested without Triton on a small random decoder."""
