"""Options of commands that read labelled data and reference checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

dataset_option = click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Labelled data: .jsonl, .json, .csv, or a folder of images by label.",
)


column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=lambda _, __, given: dict(_column(one) for one in given),
    metavar="NAME=COLUMN",
    help="What the data call a column, such as text=review. May be given several times.",
)


adapter_option = click.option("--adapter", help="A folder with a LoRA adapter, merged into SOURCE.")


base_name_option = click.option("--base-name", help="What the adapter calls SOURCE, where its own name does not tell.")


def _column(given: str) -> tuple[str, str]:
    name, equals, column = given.partition("=")
    if not equals:
        raise click.BadParameter(f"{given!r} should read NAME=COLUMN")
    return name, column
