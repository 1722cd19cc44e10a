"""Served answers against PyTorch's and against labelled data."""
