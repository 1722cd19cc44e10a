"""Odd checkpoints, and what must become of each: PyTorch's answers, or a refusal that helps.

A row of a table is a trained checkpoint, a few lines that make it odd, and the outcome. A report that a user sends becomes
one row, in the table of what was odd about the folder.
"""
