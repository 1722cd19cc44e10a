"""What the base install pulls in, and how fast the command line answers."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "optimum", "tokenizers", "pydantic", "jinja2")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "module",
    [
        "hf2triton_client",
        "hf2triton_client.aio",
        "hf2triton_client.loadgen.load",
        "hf2triton_client.transport.shared_memory",
        "hf2triton_client.evaluation.validate",
        "hf2triton_client.report.io",
        "hf2triton.cli",
    ],
)
def test_imports_are_light(module):
    """Neither the client nor the command line imports what only extras bring."""
    loaded = run(f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))")
    assert loaded.strip() == ""


def test_frontends_import_nothing_of_ours():
    """What is copied into entries runs where hf2triton is not installed."""
    from hf2triton import triton_models as frontends

    for path in __import__("pathlib").Path(frontends.__file__).parent.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not [line for line in lines if "hf2triton" in line], path
