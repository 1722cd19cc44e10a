"""Pages of the reference that are written by hand name what the code has, no more and no less."""

from __future__ import annotations

import ast
import json
import re
import sys
from dataclasses import fields
from types import SimpleNamespace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton import errors
from hf2triton.checkpoint.preprocessing import MAX_IMAGE_BYTES, MAX_PIXELS, MAX_TEXT_BYTES
from hf2triton.cli import main
from hf2triton.core.frontend_settings import DecoderSettings, EncoderSettings
from hf2triton.core.manifest import Manifest
from hf2triton.engines.common.backend_keys import OVERWRITTEN
from hf2triton.repository.decoder_frontend import _parameters
from hf2triton.tasks import TASKS
from hf2triton.triton_models.admission import MAX_WAIT
from hf2triton.triton_models.inputs import MAX_REQUEST_BYTES
from hf2triton.triton_models.parameters import MAX_PARAMETERS_LENGTH
from hf2triton_client import errors as client_errors
from hf2triton_client.errors import ClientError
from hf2triton_client.pipelines import PIPELINES

from .pages import DOCS, ROOT, files, first_cells, names, reference, section

CONFIGS = sorted((ROOT / "model_repository").glob("*/config.pbtxt"))
#: Beginnings of names in patterns and in this file.
NO_VARIABLE = {"HF2TRITON_"}


def keys(record: type) -> list[str]:
    """The JSON keys of a record."""
    return [own.name for own in fields(record) if not own.name.startswith("_")]


def subclasses(base: type) -> list[type]:
    return [base, *(every for own in base.__subclasses__() for every in subclasses(own))]


def test_environment_variables():
    """The page lists every variable of ours that code, containers or tests name."""
    found = {
        name
        for path in files()
        for name in re.findall(r"(?<!_)HF2TRITON_[A-Z_]*", path.read_text(encoding="utf-8", errors="replace"))
    }
    listed = {name for name in names(first_cells(reference("environment"))) if name.startswith("HF2TRITON_")}
    assert listed == found - NO_VARIABLE


def test_metrics_of_generative_models():
    """The page lists the metrics that the frontend declares, with their types."""
    source = (ROOT / "exporter/hf2triton/triton_models/generation_frontend.py").read_text(encoding="utf-8")
    (families,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_FAMILIES"
    ]
    text = section(reference("metrics"), "## Metrics of generative models")
    listed = {
        cells[1].strip(" `"): cells[2].strip()
        for cells in (row.split("|") for row in text.splitlines())
        if len(cells) > 3
    }
    assert {f"hf2triton_{name}": kind.lower() for name, (_, kind) in families.items()}.items() <= listed.items()
    assert len(listed) == len(families) + 2  # the head of the table


def test_metrics_of_triton():
    """The page lists Triton's metrics that the dashboard, the alerts and the autoscaler use."""
    used = {
        name
        for path in [*(ROOT / "docker").rglob("*.json"), *(ROOT / "docker").glob("*.yaml")]
        for name in re.findall(r"\bnv_[a-z_]+", path.read_text(encoding="utf-8"))
    }
    assert set(names(first_cells(section(reference("metrics"), "## Metrics of Triton")))) == used


def test_keys_of_the_manifest():
    assert names(first_cells(section(reference("repository-layout"), "## manifest.json"))) == keys(Manifest)


def test_keys_of_the_settings():
    """The page lists the keys of both kinds of front.json."""
    listed = first_cells(section(reference("repository-layout"), "## front.json"))
    assert names(listed) == [*keys(EncoderSettings), *keys(DecoderSettings)]


def test_parameters_of_generative_models():
    """The page lists the parameters that operators may change."""
    written = _parameters(SimpleNamespace(max_batch_size=8, options=SimpleNamespace(max_queue=256, threads=0)))
    listed = names(first_cells(section(reference("config-keys"), "## Parameters you may change")))
    assert listed == ["max_wait_seconds", "intra_op_thread_count", *written]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_keys_of_configs(path):
    """The page lists every key of the configs of the project's own repository, and every key of what clients read."""
    config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
    page = reference("config-keys")
    shown = set(re.findall(r"`([\w.]+)`", page))
    assert {field.name for field, _ in config.ListFields()} - {"parameters"} <= shown
    assert {name for name in config.parameters if name != "hf2triton"} <= shown
    if "hf2triton" in config.parameters:
        known = names(first_cells(section(page, "## The parameter `hf2triton`")))
        assert json.loads(config.parameters["hf2triton"].string_value).keys() <= set(known)


def test_overwritten_options():
    """The page lists the CUDA options that have no effect on an accelerator."""
    end = reference("config-keys").split("These CUDA options", 1)[1]
    assert set(re.findall(r"`(\w+)`", end)) - {"parameters"} == OVERWRITTEN


def test_tasks():
    """The page says what the pipeline of each task returns."""
    assert sorted(names(first_cells(section(reference("tasks"), "## What a pipeline returns")))) == sorted(TASKS)


def test_pipelines_of_the_client():
    """The client's page has every pipeline and every error."""
    page = reference("python-client")
    documented = re.findall(r"^::: hf2triton_client\.pipelines\.\w+\.(\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(cls.__name__ for cls in PIPELINES)
    rows = first_cells(section(page, "## What raises what"))
    raised = [name for name in names(rows) if hasattr(client_errors, name)]
    ours = [own for own in subclasses(ClientError)[1:] if own.__module__ == client_errors.__name__]
    assert sorted(raised) == sorted(own.__name__ for own in ours)


def test_exit_codes():
    """The page explains the code of every error, and narrower meanings only for commands that there are."""
    every = [*subclasses(errors.Hf2TritonError), *subclasses(ClientError)]
    codes = {str(getattr(own, "exit_code", 1)) for own in every}
    rows = first_cells(reference("exit-codes"))
    assert codes <= set(rows[:5]) == {"0", "1", "2", "3", "130"}
    assert set(names(rows[5:])) <= set(main.commands)


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("protocol", f"| a text | {MAX_TEXT_BYTES >> 20} MiB |"),
        ("protocol", f"of a request | {MAX_REQUEST_BYTES >> 20} MiB |"),
        ("protocol", f"| {MAX_PARAMETERS_LENGTH:,} characters |"),
        ("protocol", f"| {MAX_IMAGE_BYTES >> 20} MiB and {MAX_PIXELS:,} pixels |"),
        ("config-keys", f"| `max_wait_seconds` | {MAX_WAIT:g} |"),
    ],
)
def test_limits(page, shown):
    assert shown in reference(page)


def test_tables_are_used():
    """Every table that can be made from the code stands in a page."""
    sys.path.insert(0, str(DOCS))
    try:
        from tables import TABLES
    finally:
        sys.path.remove(str(DOCS))
    texts = [path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")]
    assert sorted(name for text in texts for name in re.findall(r"^\{\{ (\w+) \}\}$", text, re.MULTILINE)) == sorted(
        TABLES
    )


def test_the_glossary_is_in_order():
    words = first_cells(reference("glossary"))
    assert words == sorted(set(words), key=str.lower)
