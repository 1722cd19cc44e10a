"""The pod of one server: what Kubernetes and KServe have in common."""

from __future__ import annotations

from typing import Any

from ..engines.tensorrt import ENGINE_CACHE
from . import secured
from .plan import MOUNTED, PORTS, DeploymentPlan
from .resources import gpu_bytes, rounded

#: Where server.Dockerfile puts the script that supervises a server.
HEALTH = "/opt/hf2triton/health.py"
#: The time to exit, as in serve.sh, and how long Kubernetes waits before that: endpoints are updated first, so no new calls
#: arrive.
EXIT_SECONDS, LEAVE_SECONDS = 30, 10
#: The requested memory relative to the estimate: a container that takes more than its limit is killed.
SPARE = 1.25
#: The user that the image runs as.
USER = 1000


def labels(plan: DeploymentPlan) -> dict[str, str]:
    """The labels of all objects."""
    return {
        "app.kubernetes.io/name": "hf2triton",
        "app.kubernetes.io/instance": plan.name,
        "app.kubernetes.io/component": "inference-server",
    }


def pod_annotations(plan: DeploymentPlan) -> dict[str, str]:
    """The annotations of pods: how they are scraped, and what was estimated."""
    scraped = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORTS["metrics"]),
        "prometheus.io/path": "/metrics",
    }
    on_gpu = gpu_bytes(plan.needs)
    return {**scraped, "hf2triton/gpu-memory": rounded(on_gpu)} if on_gpu else scraped


def arguments(plan: DeploymentPlan, place: str) -> list[str]:
    """The arguments after serve.sh's own flags. `place`: the repository."""
    return [f"--model-repository={place}", *(f"--load-model={name}" for name in plan.models)]


def resources(plan: DeploymentPlan) -> dict[str, dict[str, str]]:
    """Requests equal limits, so that nodes with the static CPU manager policy assign whole cores. onnxruntime starts a thread for
    each core that it sees, and a thread throttled by a quota holds back the others. Shared memory counts as memory."""
    own = {"cpu": str(plan.options.cpus), "memory": rounded(int(SPARE * plan.host_bytes) + plan.shared_memory)}
    if plan.gpus:
        own["nvidia.com/gpu"] = str(plan.gpus)
    return {"requests": own, "limits": dict(own)}


def probes(plan: DeploymentPlan) -> dict[str, Any]:
    """A pod is ready when every model is loaded or has failed, so a failed model keeps no traffic from the others. Triton calls a
    Python model ready even if its process has died; if it is not back within a minute, health.py reports it and the pod is
    replaced. With TLS, only the container itself reaches HTTP, and the kubelet's gRPC probes do not support TLS, so health.py
    asks there."""
    ready = {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "timeoutSeconds": 5}
    if plan.tls:
        ready = {**_health("ready"), "timeoutSeconds": 10}
    return {
        "startupProbe": {**ready, "periodSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**_health("live"), "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 3},
    }


def _health(what: str) -> dict[str, Any]:
    return {"exec": {"command": ["python3", HEALTH, what]}}


def container(plan: DeploymentPlan, name: str, place: str) -> dict[str, Any]:
    """The container, without volumes of models. The root file system is read-only, except `/tmp`, `/dev/shm` and TensorRT's
    cache."""
    return {
        "name": name,
        "image": plan.image,
        "args": arguments(plan, place),
        "ports": [
            {"name": protocol, "containerPort": port, "protocol": "TCP"} for protocol, port in plan.ports.items()
        ],
        **({"env": environment} if (environment := secured.environment(plan)) else {}),
        "resources": resources(plan),
        **probes(plan),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_SECONDS)]}}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
            *([{"name": "engines", "mountPath": ENGINE_CACHE}] if plan.gpus else []),
            *secured.mounts(plan),
        ],
    }


def volumes(plan: DeploymentPlan) -> list[dict[str, Any]]:
    return [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": rounded(plan.shared_memory)}},
        {"name": "tmp", "emptyDir": {}},
        *(
            [{"name": "engines", "emptyDir": {}}] if plan.gpus else []
        ),  # per pod: another pod may run on another kind of GPU
        *secured.volumes(plan),
    ]


def pod(plan: DeploymentPlan) -> dict[str, Any]:
    """The spec of a Deployment's pods."""
    server, extra = container(plan, "triton", plan.place), []
    if plan.claim is not None:
        mount = {"name": "models", "mountPath": MOUNTED, "readOnly": True}
        server["volumeMounts"].append({**mount, "subPath": plan.claim.folder} if plan.claim.folder else mount)
        extra.append({"name": "models", "persistentVolumeClaim": {"claimName": plan.claim.name, "readOnly": True}})
    if plan.remote:  # the bucket's credentials, as variables that tritonserver reads
        server["envFrom"] = [{"secretRef": {"name": f"{plan.name}-storage", "optional": True}}]
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(plan)},
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": LEAVE_SECONDS + EXIT_SECONDS + 15,
        "topologySpreadConstraints": [spread],
        "containers": [server],
        "volumes": [*volumes(plan), *extra],
    }
