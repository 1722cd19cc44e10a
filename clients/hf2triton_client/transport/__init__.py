"""Connections, requests and their tries, streams, shared memory."""
