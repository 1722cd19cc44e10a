"""The embedded Triton: a real tritonserver for laptops, CI and tests. In production, the container serves."""

from __future__ import annotations

from .server import Server

__all__ = ["Server"]
