"""Secrets, probes and ports of a server with TLS, and what its container may do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hf2triton.kubernetes import TARGETS, ManifestOptions, manifests
from hf2triton.kubernetes.pod import HEALTH, USER

from ...conftest import export_asset

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secured") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp32", name="sentiment")
    return folder


def made(target: str, repository: Path, **options) -> tuple[dict[str, dict], dict, dict]:
    """The documents by kind, the spec with the pod's volumes, and the container."""
    documents = {
        document["kind"]: document
        for document in yaml.safe_load_all(manifests(target, ManifestOptions(repository, **options)))
    }
    spec = (
        documents["Deployment"]["spec"]["template"]["spec"]
        if target == "kubernetes"
        else documents["ServingRuntime"]["spec"]
    )
    [container] = spec["containers"]
    return documents, spec, container


def place_of(secret: str, spec: dict, container: dict) -> str:
    """Where a Secret is mounted; asserts that it is read-only."""
    [volume] = [volume["name"] for volume in spec["volumes"] if volume.get("secret") == {"secretName": secret}]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == volume]
    assert mount["readOnly"]
    return mount["mountPath"]


def told(container: dict) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ())}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("option", ["tls", "mutual_tls"])
def test_the_certificate_is_mounted_where_the_server_looks(repository, target, option):
    """In the variable of that option alone, which serve.sh reads."""
    _, spec, container = made(target, repository, **{option: "triton-tls"})
    variable = f"HF2TRITON_{option.upper()}"
    assert told(container) == {variable: place_of("triton-tls", spec, container)}
    assert f"${{{variable}:-" in (ROOT / "docker" / "serve.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", TARGETS)
def test_the_key_is_mounted_where_the_server_looks(repository, target):
    """As a file: it is neither in the manifest nor in the arguments."""
    _, spec, container = made(target, repository, control_key="triton-control")
    place = place_of("triton-control", spec, container)
    assert told(container) == {"HF2TRITON_CONTROL_KEY_FILE": f"{place}/control-key"}


@pytest.mark.parametrize("target", TARGETS)
def test_beside_tls_http_is_closed(repository, target):
    """Neither container nor Service has its port, and probes ask inside of the container."""
    documents, _, container = made(target, repository, tls="triton-tls")
    for ports in (container["ports"], documents["Service"]["spec"]["ports"]):
        assert [port["name"] for port in ports] == ["grpc", "metrics"]
    for probe, what in (("startupProbe", "ready"), ("readinessProbe", "ready"), ("livenessProbe", "live")):
        assert container[probe]["exec"]["command"] == ["python3", HEALTH, what]
        assert "httpGet" not in container[probe]
        assert container[probe]["timeoutSeconds"] > 4, "health.py waits so long for an answer"
    if target == "kubernetes":
        calls, scrapes = documents["NetworkPolicy"]["spec"]["ingress"]
        assert [port["port"] for port in calls["ports"]] == [8001]
        assert [port["port"] for port in scrapes["ports"]] == [8002]
    else:
        assert documents["ServingRuntime"]["spec"]["protocolVersions"] == ["grpc-v2"]


@pytest.mark.parametrize("target", TARGETS)
def test_without_tls_http_is_open(repository, target):
    """And the kubelet asks there."""
    documents, _, container = made(target, repository)
    assert "env" not in container
    assert {port["name"] for port in documents["Service"]["spec"]["ports"]} == {"grpc", "http", "metrics"}
    assert container["readinessProbe"]["httpGet"]["port"] == "http"


@pytest.mark.parametrize("target", TARGETS)
def test_a_container_may_do_little(repository, target):
    """It is not root, has no capabilities and no way to get any, writes to memory and /tmp alone, and has no token."""
    documents, spec, container = made(target, repository, mutual_tls="triton-tls", control_key="triton-control")
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/dev/shm", "/tmp"}
    pod = spec if target == "kubernetes" else documents["InferenceService"]["spec"]["predictor"]
    assert pod["automountServiceAccountToken"] is False
    limited = container if target == "kubernetes" else pod["model"]
    assert re.fullmatch(r"\d+Mi", limited["resources"]["limits"]["memory"])
