"""The server image's TLS and keys, with the real server, and what compose hands over for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hf2triton.engines.tensorrt import ENGINE_CACHE
from hf2triton_client import AccessDenied, ConnectionFailed, Tls, connect, pipeline

from ..certificates import make_certificates
from ..support import environment_without
from .conftest import DOCKER, KEY, Served, serving
from .test_entry_point import health

COMPOSE = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
SERVERS = ("server-cpu", "server-gpu")
INPUT = b'{"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["good"]}]}'


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(measured, made) -> Iterator[Served]:
    """With mutual TLS, and the key in a file."""
    variables = {"HF2TRITON_MUTUAL_TLS": str(made / "server"), "HF2TRITON_CONTROL_KEY_FILE": str(made / "control.key")}
    with serving(measured.repository, Path(sys.prefix) / "bin", **variables) as running:
        yield running


def test_callers_need_a_certificate(secured, made):
    """Who has one is answered; who has none is not."""
    own = Tls.from_folder(made / "caller")
    with pipeline(model="sentiment", url=secured.url, tls=own) as classify:
        assert classify("good")[0]["label"] == "POSITIVE"
    for tls in (None, Tls(own.root_certificates)):
        with pytest.raises(ConnectionFailed):
            pipeline(model="sentiment", url=secured.url, tls=tls, retries=0, timeout=20)


def test_the_health_check_needs_none(secured):
    """health.py runs beside the server, where HTTP answers health alone."""
    for what in ("live", "ready"):
        result = health(secured, what)
        assert (result.returncode, result.stderr) == (0, "")
    assert secured.ask("v2/models/sentiment/infer", data=INPUT)[0] == 403
    assert secured.ask("v2/models/sentiment/config")[0] == 403


def test_metrics_are_still_scraped(secured):
    """They are on their own port, which others reach."""
    code, text = secured.ask("metrics", "metrics")
    assert code == 200
    assert "nv_inference_request_success" in text


def test_the_file_has_the_key(secured, made):
    """Who sends what it holds may load; who sends what the environment held besides may not."""
    tls, key = Tls.from_folder(made / "caller"), (made / "control.key").read_text().strip()
    header = "triton-grpc-protocol-hf2triton-control"
    with connect(secured.url, tls=tls, headers={header: key}) as connection:
        connection.load_model("sentiment")
    refused = pytest.raises(AccessDenied, match="its key in the header")
    with connect(secured.url, tls=tls, headers={header: KEY}, retries=0) as connection, refused:
        connection.load_model("sentiment")


def interpolated(**variables: str) -> dict:
    """compose.yaml as Docker reads it: `${NAME:-default}` and `${NAME:+other}` mean what they mean in shells."""
    assert not set("`\\") & set(COMPOSE)
    assert "$(" not in COMPOSE
    names = ("TLS", "MUTUAL_TLS", "CONTROL_KEY", "CONTROL_KEY_FILE", "REPOSITORY", "MEMORY", "BIND")
    environment = {**environment_without(*(f"HF2TRITON_{name}" for name in names)), **variables}
    script = f"cat <<END-OF-FILE\n{COMPOSE}\nEND-OF-FILE\n"
    done = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True)
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("option", ["HF2TRITON_TLS", "HF2TRITON_MUTUAL_TLS"])
def test_compose_hands_a_folder_over(name, option, made, tmp_path):
    """One variable mounts it, read-only, and tells serve.sh, which does not start without what it needs there."""
    service = interpolated(**{option: str(made / "server")})["services"][name]
    [mount] = [volume for volume in service["volumes"] if volume["target"] == "/etc/hf2triton/tls"]
    assert (mount["source"], mount["read_only"]) == (str(made / "server"), True)
    told = {key: value for key, value in service["environment"].items() if value and key.endswith("TLS")}
    assert told == {option: mount["target"]}
    result = subprocess.run(
        [str(DOCKER / "serve.sh")], env={"PATH": os.environ["PATH"], **told}, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert f"{mount['target']}/tls.crt is needed" in result.stderr


@pytest.mark.parametrize("name", SERVERS)
def test_compose_hands_nothing_over_by_default(name):
    """Then what is mounted is /dev/null, which serve.sh takes for nothing, and neither TLS nor a key is asked for."""
    document = interpolated()
    service = document["services"][name]
    [mount] = [volume for volume in service["volumes"] if volume["target"] == "/etc/hf2triton/tls"]
    assert mount["source"] == "/dev/null"
    assert not any(service["environment"][f"HF2TRITON_{key}"] for key in ("TLS", "MUTUAL_TLS", "CONTROL_KEY"))
    assert document["secrets"] == {"control-key": {"file": "/dev/null"}}


@pytest.mark.parametrize("name", SERVERS)
def test_compose_hands_the_key_over_as_a_secret(name):
    """A file, where serve.sh is told to look."""
    document = interpolated(HF2TRITON_CONTROL_KEY_FILE="/a/key")
    service = document["services"][name]
    [secret] = service["secrets"]
    assert document["secrets"][secret] == {"file": "/a/key"}
    assert service["environment"]["HF2TRITON_CONTROL_KEY_FILE"] == f"/run/secrets/{secret}"


def test_compose_gives_containers_little():
    """No capabilities and no way to more; ours write to /tmp and TensorRT's cache alone; processes are bounded."""
    services = interpolated(HF2TRITON_MEMORY="8g")["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(str(port).startswith("127.0.0.1:") for port in service["ports"]), name
    for name in SERVERS:
        assert (services[name]["read_only"], services[name]["tmpfs"], services[name]["mem_limit"]) == (
            True,
            ["/tmp"],
            "8g",
        )
        assert services[name]["pids_limit"] > 0
        writable = [volume["target"] for volume in services[name]["volumes"] if not volume.get("read_only")]
        assert writable == ([ENGINE_CACHE] if name == "server-gpu" else [])
