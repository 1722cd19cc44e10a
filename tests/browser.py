"""Chromium for tests that look at pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium. Where there is none the test is skipped, unless HF2TRITON_BROWSER=required: then it fails."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        installed = [playwright.chromium.executable_path, *map(shutil.which, BROWSERS)]
        path = next((own for own in installed if own and os.access(own, os.X_OK)), None)
        if path is None:
            message = f"none of {', '.join(BROWSERS)} is on the PATH, and playwright has installed none"
            (pytest.fail if os.environ.get("HF2TRITON_BROWSER") == "required" else pytest.skip)(message)
        own = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield own
        own.close()
