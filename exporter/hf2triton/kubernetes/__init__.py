"""Manifests with which an engine that exists serves a repository: Kubernetes as it is, or KServe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UnknownName
from .kserve import kserve_objects
from .kubernetes import kubernetes_objects
from .plan import DeploymentPlan, ManifestOptions, make_plan

#: What `--target` takes -> what makes its objects.
TARGETS: Mapping[str, Callable[[DeploymentPlan], list[dict[str, Any]]]] = {
    "kubernetes": kubernetes_objects,
    "kserve": kserve_objects,
}


def manifests(target: str, options: ManifestOptions) -> str:
    """The YAML documents that `kubectl apply -f` takes. Raises UsageError and RepositoryError."""
    if target not in TARGETS:
        raise UnknownName("target", target, TARGETS)
    return to_yaml(TARGETS[target](make_plan(options)))


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Documents in block style, with keys in the order in which they were put in."""
    import yaml

    class Plain(yaml.SafeDumper):
        """Anchors are hard to read; what two objects share is written twice."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump_all(objects, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120)


__all__ = ["TARGETS", "ManifestOptions", "manifests", "to_yaml"]
