"""A GPU, where there is one: how it is found, and that an export for one is proved on it. A CPU stands in for it here."""

import json

import pytest

from hf2triton.engines.common import devices
from hf2triton.engines.cuda import ENGINE as CUDA
from hf2triton.parity import checks as parity
from hf2triton.repository import warmup
from hf2triton.triton_models import sessions

from ...conftest import export_asset


def test_a_device_is_found_by_what_its_driver_leaves(monkeypatch, tmp_path):
    """Whether or not the libraries can use it."""
    monkeypatch.setattr(devices, "_GPU_FILES", (str(tmp_path / "nvidiactl"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.devices() == ("cpu",)
    (tmp_path / "nvidiactl").touch()
    assert devices.devices() == ("cpu", "cuda")


def test_an_onnxruntime_without_cuda_does_not_run_on_a_gpu(monkeypatch):
    """A driver is not enough, and what is missing is named."""
    monkeypatch.setitem(sessions.PROVIDERS, "cuda", "NoSuchExecutionProvider")
    monkeypatch.setattr(devices, "devices", lambda: ("cpu", "cuda"))
    devices.runs_on_gpu.cache_clear()
    assert not devices.runs_on_gpu()
    devices.runs_on_gpu.cache_clear()
    with pytest.raises(
        RuntimeError, match="has no NoSuchExecutionProvider, which device cuda needs; install onnxruntime-gpu"
    ):
        sessions.open_session("graph.onnx", "cuda", 0, 1)
    with pytest.raises(RuntimeError, match="there is no device tpu; the devices are cpu, cuda"):
        sessions.open_session("graph.onnx", "tpu", 0, 1)


def test_an_export_for_a_gpu_is_proved_on_it(monkeypatch, tmp_path):
    """Where the machine that exports has one: its answers are among the checks, and the call overhead is its own."""
    opened = []

    def standing_in(path, device, device_id, threads, options=None):
        opened.append(device)
        return sessions.open_session(path, "cpu", device_id, threads, options)

    monkeypatch.setattr(devices, "runs_on_gpu", lambda: True)
    monkeypatch.setattr(parity, "open_on", standing_in)
    monkeypatch.setattr(warmup, "open_session", standing_in)
    report = export_asset(tmp_path, "vit", "image-classification", "fp16", name="gpu", device="cuda", runner=None)
    names = [check.name for check in report.parity["gpu"].checks]
    for prefix in ("rounded to fp16: ", "as served: ", "on the GPU: "):
        assert sum(name.startswith(prefix) for name in names) == len(names) / 3 > 3
    assert opened == ["cpu", "cpu", "cuda", "cuda", "cuda"]
    assert "measure the call overhead" in report.seconds
    settings = json.loads((tmp_path / "gpu" / "1" / "front.json").read_text())
    assert settings["limits"]["call_price"] != CUDA.call_overhead
