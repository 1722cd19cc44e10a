"""Modules under the names that they had before the client had rooms."""

import importlib
import subprocess
import sys
import warnings

import pytest

from hf2triton_client.moved import MOVED


@pytest.mark.parametrize("name", MOVED)
def test_an_old_name_gives_what_the_new_ones_have(name, monkeypatch):
    """The same objects, with a warning that names the new place and is shown where the import is."""
    monkeypatch.delitem(sys.modules, f"hf2triton_client.{name}", raising=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DeprecationWarning)
        exec(f"import hf2triton_client.{name}", {})
    [warning] = [one for one in told if str(one.message).startswith(f"hf2triton_client.{name} is")]
    assert warning.filename == "<string>"
    old = sys.modules[f"hf2triton_client.{name}"]
    for place in MOVED[name]:
        new = importlib.import_module(f"hf2triton_client.{place}")
        assert str(warning.message).endswith(" now")
        assert {key for key in vars(new) if not key.startswith("__")} <= set(vars(old))
        assert all(vars(old)[key] is value for key, value in vars(new).items() if not key.startswith("__"))


def test_nothing_of_ours_uses_them():
    """A process that uses the client is not warned, and what is nowhere is still not found."""
    code = "import hf2triton_client.aio, hf2triton_client.report, hf2triton_client.evaluation.validate"
    subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:hf2triton_client", "-c", code], check=True, timeout=60
    )
    with pytest.raises(ModuleNotFoundError, match=r"hf2triton_client.nowhere"):
        importlib.import_module("hf2triton_client.nowhere")
