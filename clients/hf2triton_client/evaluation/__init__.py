"""Compares served answers with PyTorch's and with labelled data."""
