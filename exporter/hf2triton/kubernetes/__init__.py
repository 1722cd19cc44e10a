"""Manifests with which an existing engine serves a repository: plain Kubernetes or KServe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UnknownName
from .kserve import kserve_objects
from .kubernetes import kubernetes_objects
from .plan import DeploymentPlan, ManifestOptions, make_plan

#: Values of `--target` -> the function that makes the objects.
TARGETS: Mapping[str, Callable[[DeploymentPlan], list[dict[str, Any]]]] = {
    "kubernetes": kubernetes_objects,
    "kserve": kserve_objects,
}


def manifests(target: str, options: ManifestOptions) -> str:
    """Returns the YAML documents for `kubectl apply -f`. Raises UsageError and RepositoryError."""
    if target not in TARGETS:
        raise UnknownName("target", target, TARGETS)
    return to_yaml(TARGETS[target](make_plan(options)))


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Documents in block style, with keys in insertion order."""
    import yaml

    class Plain(yaml.SafeDumper):
        """Anchors are hard to read, so what two objects share is written twice."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump_all(objects, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120)


__all__ = ["TARGETS", "ManifestOptions", "manifests", "to_yaml"]
