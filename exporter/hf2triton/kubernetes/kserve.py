"""Objects of KServe: a ServingRuntime, which says how a repository is served, and the InferenceService that serves this
repository.

KServe fetches the repository from `storageUri` to /mnt/models and makes the Deployment and autoscaler itself. Several ports (gRPC
first) and a rolling update require its standard mode, without Knative.
"""

from __future__ import annotations

from typing import Any

from .autoscaling import MOST
from .kubernetes import headless_service
from .plan import DeploymentPlan
from .pod import container, labels, pod_annotations, volumes

#: Where KServe mounts what it fetched.
MOUNTED = "/mnt/models"
#: The model format by which runtimes and services find each other.
FORMAT = {"name": "triton", "version": "2"}
#: KServe's names for the protocols on a port.
_PROTOCOLS = {"grpc": "grpc-v2", "http": "v2"}
#: Above this use of its cores, in percent, another replica is started.
BUSY = 70


def kserve_objects(plan: DeploymentPlan) -> list[dict[str, Any]]:
    """ServingRuntime, InferenceService, and a headless Service for gRPC clients."""
    server = container(plan, "kserve-container", MOUNTED)
    own = {key: server.pop(key) for key in ("args", "resources")}
    runtime = {
        "annotations": pod_annotations(plan),
        "supportedModelFormats": [{**FORMAT, "autoSelect": False}],
        "protocolVersions": [_PROTOCOLS[name] for name in plan.ports if name in _PROTOCOLS],
        "multiModel": False,
        "containers": [server],
        "volumes": volumes(plan),
    }
    storage = {"storageUri": plan.options.storage}
    if "://" not in plan.options.storage:  # the image has the repository, so there is nothing to fetch
        storage, first = {}, own["args"][0].replace(MOUNTED, plan.place)
        own["args"] = [first, *own["args"][1:]]
    predictor = {
        "automountServiceAccountToken": False,
        "minReplicas": plan.options.replicas,
        "maxReplicas": MOST * plan.options.replicas,
        "scaleMetric": "cpu",
        "scaleTarget": BUSY,
        "model": {"modelFormat": FORMAT, "runtime": plan.name, "protocolVersion": "grpc-v2", **storage, **own},
    }
    return [
        _object(plan, "serving.kserve.io/v1alpha1", "ServingRuntime", runtime),
        _object(plan, "serving.kserve.io/v1beta1", "InferenceService", {"predictor": predictor}, _MODE),
        headless_service(plan, {"serving.kserve.io/inferenceservice": plan.name}, "-grpc"),
    ]


_MODE = {"serving.kserve.io/deploymentMode": "RawDeployment", "serving.kserve.io/autoscalerClass": "hpa"}


def _object(
    plan: DeploymentPlan, version: str, kind: str, spec: dict[str, Any], marks: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": plan.name, "labels": labels(plan)}
    if marks:
        metadata["annotations"] = marks
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
