"""Scales the number of replicas by what waits in Triton's queues and by how busy the GPUs are.

Kubernetes reads such metrics from an adapter; docker/prometheus-adapter.yaml configures prometheus-adapter to provide these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .plan import DeploymentPlan

#: The most replicas, for each that always runs.
MOST = 4


@dataclass(frozen=True)
class Metric:
    """`target`: above this average over pods, another pod is started; a Kubernetes quantity. `when`: which servers have the
    metric."""

    name: str
    target: str
    when: Callable[[DeploymentPlan], bool]


METRICS = (
    Metric("nv_inference_pending_request_count", "4", lambda plan: True),
    Metric("hf2triton_queue_length", "2", lambda plan: plan.generates),
    Metric("nv_gpu_utilization", "800m", lambda plan: plan.gpus > 0),
)


def autoscaler_spec(plan: DeploymentPlan) -> dict[str, Any]:
    """Grows at once and shrinks slowly, because a new pod has to load its models first."""
    pods = [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": metric.name},
                "target": {"type": "AverageValue", "averageValue": metric.target},
            },
        }
        for metric in METRICS
        if metric.when(plan)
    ]
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
        "minReplicas": plan.options.replicas,
        "maxReplicas": MOST * plan.options.replicas,
        "metrics": pods,
        "behavior": {
            "scaleUp": {
                "stabilizationWindowSeconds": 0,
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
            },
            "scaleDown": {
                "stabilizationWindowSeconds": 300,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
            },
        },
    }
