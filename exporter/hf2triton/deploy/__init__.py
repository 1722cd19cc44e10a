"""Moves versions: publishing, rollback, history, and control of the server."""
