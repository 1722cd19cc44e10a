"""The model repository: what it contains, and how it is written."""
