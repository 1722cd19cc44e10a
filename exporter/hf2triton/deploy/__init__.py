"""Versions on the move: publishing, rolling back, history, and the server that is told."""
