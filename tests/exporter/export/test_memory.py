"""What an export needs in memory."""

import json
import re
import subprocess
import sys

import pytest

from hf2triton.demo.examples import weights

from ...conftest import asset


def peak_and_weights(source, repository):
    """The peak in bytes of an export in a process of its own, and the size of its weights in fp32."""
    report = repository / "report.json"
    command = [sys.executable, "-m", "hf2triton", "export", str(source), "--name", "m", "--repository", str(repository)]
    said = subprocess.run([*command, "--report", str(report)], check=True, capture_output=True, text=True).stdout
    peak = float(re.search(r"([\d.]+) GB at its peak", said)[1]) * 1e9
    return peak, json.loads(report.read_text())["parity"]["m"]["fp32_weight_bytes"]


@pytest.mark.slow
def test_an_export_holds_its_weights_at_most_three_times(tmp_path):
    """Beyond what torch and the exporter take by themselves, which the export of a tiny model shows."""
    imported, _ = peak_and_weights(asset("bert", "text-classification"), tmp_path)
    peak, size = peak_and_weights(weights(), tmp_path)
    assert peak - imported < 3 * size
