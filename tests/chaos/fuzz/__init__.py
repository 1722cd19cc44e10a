"""Inputs that nobody should send, made at random, and those that ever broke something (`corpus/`)."""
