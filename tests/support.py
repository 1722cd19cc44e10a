"""What several tests share."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ASSETS = Path(__file__).parent / "assets"
#: What older versions of libraries gave, each with the script that recorded it.
RECORDS = Path(__file__).parent / "records"
#: Texts that differ in length, script and form; the last is longer than the small checkpoints' 128 tokens.
TEXTS = [
    "I love this film, it is wonderful!",
    "Terrible. I want my money back.",
    "It is a chair.",
    "Angela Schmidt of Acme Ltd flew to Paris on Monday.",
    "Ünïcödé: naïve café 😀 — 東京 здравствуй",
    "ok",
    "Not bad at all, but I wouldn't buy it again: the handle broke, the colour faded and nobody answered my letters.",
    "word " * 300,
]


def assert_outputs_match(expected: Any, actual: Any, atol: float, path: str = "result") -> None:
    """Same types (a list may be a subclass), keys, order and values; floats within `atol`, also in arrays."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict), path
        assert list(actual) == list(expected), path
        for key in expected:
            assert_outputs_match(expected[key], actual[key], atol, f"{path}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert isinstance(actual, type(expected)), path
        assert len(actual) == len(expected), path
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            assert_outputs_match(one, other, atol, f"{path}[{index}]")
    elif isinstance(expected, np.ndarray):
        assert actual.shape == expected.shape, path
        np.testing.assert_allclose(actual, expected, atol=atol, err_msg=path)
    elif isinstance(expected, (float, np.floating)):
        assert type(actual) is type(expected), f"{path}: {type(actual)} is not {type(expected)}"
        assert abs(float(expected) - float(actual)) <= atol, f"{path}: {actual} is not {expected}"
    else:
        assert type(actual) is type(expected), f"{path}: {type(actual)} is not {type(expected)}"
        assert actual == expected, path


def rest_slow(cases: Iterable[Any], quick: int = 1) -> list[Any]:
    """Parameters of a test that takes long: all but the first `quick` of them are slow."""
    return [
        case
        if number < quick
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def sample_of(folder: Path) -> list[dict[str, Any]]:
    """The labelled held-out rows of a trained checkpoint."""
    return [json.loads(line) for line in (folder / "sample.jsonl").read_text(encoding="utf-8").splitlines()]


def interruptible() -> None:
    """`preexec_fn` of a process that gets Ctrl-C: shells have their jobs in the background ignore it, also those that test."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its digest."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def environment_without(*variables: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in variables}
