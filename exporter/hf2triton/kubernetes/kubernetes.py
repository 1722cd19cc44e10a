"""Plain objects of Kubernetes: a Deployment and what belongs to it."""

from __future__ import annotations

from typing import Any

from .autoscaling import autoscaler_spec
from .plan import PORTS, DeploymentPlan
from .pod import labels, pod, pod_annotations

#: The label of pods that may call the server, and the namespace that scrapes it.
CLIENT_LABEL = {"hf2triton/client": "true"}
MONITORING = "monitoring"


def kubernetes_objects(plan: DeploymentPlan) -> list[dict[str, Any]]:
    """Deployment, headless Service, HorizontalPodAutoscaler, PodDisruptionBudget and NetworkPolicy."""
    return [
        _object(plan, "apps/v1", "Deployment", _deployment(plan)),
        headless_service(plan, labels(plan)),
        _object(plan, "autoscaling/v2", "HorizontalPodAutoscaler", autoscaler_spec(plan)),
        _object(plan, "policy/v1", "PodDisruptionBudget", {"maxUnavailable": 1, "selector": _selector(plan)}),
        _object(plan, "networking.k8s.io/v1", "NetworkPolicy", _network(plan)),
    ]


def headless_service(plan: DeploymentPlan, selector: dict[str, str], suffix: str = "") -> dict[str, Any]:
    """Its name resolves to the address of every ready pod; the client sends requests to all of them in turn."""
    ports = [{"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, port in plan.ports.items()]
    spec = {"clusterIP": "None", "selector": selector, "ports": ports}
    return _object(plan, "v1", "Service", spec, suffix)


def _object(plan: DeploymentPlan, version: str, kind: str, spec: dict[str, Any], suffix: str = "") -> dict[str, Any]:
    metadata = {"name": f"{plan.name}{suffix}", "labels": labels(plan)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _selector(plan: DeploymentPlan) -> dict[str, Any]:
    return {"matchLabels": labels(plan)}


def _deployment(plan: DeploymentPlan) -> dict[str, Any]:
    """Omits `replicas`, which the autoscaler controls: applying the file again would remove its pods."""
    return {
        "selector": _selector(plan),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": 1200,
        "template": {"metadata": {"labels": labels(plan), "annotations": pod_annotations(plan)}, "spec": pod(plan)},
    }


def _network(plan: DeploymentPlan) -> dict[str, Any]:
    """Calls come from labelled pods of the namespace, scrapes from the monitoring namespace; only necessary traffic goes out."""
    calls = [{"port": port, "protocol": "TCP"} for name, port in plan.ports.items() if name != "metrics"]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}}}
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    return {
        "podSelector": _selector(plan),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": CLIENT_LABEL}}], "ports": calls},
            {"from": [monitoring], "ports": [{"port": PORTS["metrics"], "protocol": "TCP"}]},
        ],
        "egress": [{"ports": [*dns, {"port": 443, "protocol": "TCP"}]}] if plan.remote else [],
    }
