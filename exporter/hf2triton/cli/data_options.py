"""Options of commands that read data, call pipelines and read reference checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

dataset_option = click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Labelled data: a .jsonl, .json or .csv file, or a folder of images with a subfolder for each label.",
)


def _columns(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    return dict(_named(one, "NAME=COLUMN") for one in given)


def _options(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    return {name: _value(value) for name, value in (_named(one, "NAME=VALUE") for one in given)}


def _named(given: str, form: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals:
        raise click.BadParameter(f"{given!r} should read {form}")
    return name, value


def _value(word: str) -> Any:
    """A JSON value, or else a word."""
    try:
        return json.loads(word)
    except ValueError:
        return word


column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="NAME=COLUMN",
    help="The name of a column in the data, such as text=review. Repeatable.",
)
pipeline_option = click.option(
    "--option",
    "options",
    multiple=True,
    callback=_options,
    metavar="NAME=VALUE",
    help="An option of the task's pipeline, such as top_k=null or max_new_tokens=20. Repeatable.",
)
labels_option = click.option("--labels", help="Candidate labels of a zero-shot task, separated by commas.")
adapter_option = click.option("--adapter", help="A folder with a LoRA adapter to merge into SOURCE.")
base_name_option = click.option(
    "--base-name", help="The name of SOURCE in the adapter's settings, if the two names differ."
)
