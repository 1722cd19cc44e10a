"""The embedded Triton: a real tritonserver for a laptop, for CI and for tests. In production the container serves."""

from __future__ import annotations

from .server import Server

__all__ = ["Server"]
