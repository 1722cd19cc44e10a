"""Reads flags of tritonserver, each as `--name=value` or `--name value`. Of those given twice the last counts."""

from __future__ import annotations

import itertools
import re

#: Of the key for the control API.
HEADER = "hf2triton-control"


def values(command: list[str], name: str) -> list[str]:
    """What a flag was given, in either of its forms."""
    flag = f"--{name}"
    given = [word.removeprefix(f"{flag}=") for word in command if word.startswith(f"{flag}=")]
    return given + [value for word, value in itertools.pairwise(command) if word == flag]


def option(command: list[str], name: str) -> str | None:
    """What counts of it: the last."""
    return next(reversed(values(command, name)), None)


def without_models(command: list[str]) -> list[str]:
    words = [word for word in command if not word.startswith("--load-model=")]
    while "--load-model" in words:
        index = words.index("--load-model")
        del words[index : index + 2]
    return words


def key_of(command: list[str]) -> str:
    """Of the control API."""
    found = re.search(rf"model-repository[^ ]*:{HEADER}=(.*)", option(command, "http-restricted-api") or "")
    return found[1] if found else ""


def url_of(command: list[str], protocol: str, port: int) -> str:
    """Where a server on this machine is reached. Metrics are, unless told otherwise, where HTTP is."""
    host = option(command, f"{protocol}-address") or option(command, "http-address") or "127.0.0.1"
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{option(command, f'{protocol}-port') or port}"


def shm_prefix(command: list[str]) -> str | None:
    """What the names of its shared memory begin with, if that was given."""
    name = "python,shm-region-prefix-name="
    given = [value.removeprefix(name) for value in values(command, "backend-config") if value.startswith(name)]
    return given[-1] if given else None
