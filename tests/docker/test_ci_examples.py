"""The examples for CI services are valid, and every command in them is one of ours."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hf2triton.cli import main

FOLDER = Path(__file__).parents[2] / "docker" / "ci"
#: File -> what checks it with the service's own schema.
SCHEMAS = {
    "github-actions.yaml": ["--builtin-schema", "vendor.github-workflows"],
    "gitlab-ci.yaml": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


def scripts(value) -> list[str]:
    """All lines of scripts in a file."""
    if isinstance(value, dict):
        own = [line for key in ("run", "script") for line in scripts_of(value.get(key))]
        return own + [line for other in value.values() for line in scripts(other)]
    return [line for other in value for line in scripts(other)] if isinstance(value, list) else []


def scripts_of(value) -> list[str]:
    return [line for one in ([value] if isinstance(value, str) else value or []) for line in one.splitlines()]


def test_every_example_is_checked():
    """No file is left out."""
    assert {path.name for path in FOLDER.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_takes_it(name):
    """The file keeps to the schema that the service publishes."""
    command = [sys.executable, "-m", "check_jsonschema", *SCHEMAS[name], str(FOLDER / name)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_commands_are_ours(name):
    """Commands, options and extras exist as they are written there."""
    lines = scripts(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))
    ours = [shlex.split(line) for line in lines if line.startswith("hf2triton ")]
    assert [words[1] for words in ours] == ["build", "validate"]
    for words in ours:
        main.commands[words[1]].make_context(words[1], words[2:])  # refuses what it does not know
    from importlib import metadata

    [wanted] = [line for line in lines if "hf2triton[" in line]
    extras = wanted.partition("[")[2].partition("]")[0].split(",")
    assert set(extras) <= set(metadata.metadata("hf2triton").get_all("Provides-Extra"))
