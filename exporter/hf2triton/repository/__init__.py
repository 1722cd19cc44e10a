"""The model repository: what is written into it, and how."""
