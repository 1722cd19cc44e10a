"""Checks that the served model is the trained one, by comparison with PyTorch's answers."""
